// The job's graph as a drawing: vertices with rates and load, edges with what flows over them, regions as frames.

import { byId, el, focusAmong, keyed, onChosen, roving, setAttribute, setText, svg } from './dom.js';
import { LOAD } from './bars.js';
import { holdsBack } from './event-time.js';
import * as format from './format.js';
import { NARROW, WIDE, curve, placeWithin } from './layout.js';

const SCALE_MIN = 0.62;
const SCALE_MAX = 1.15;
const SKEW_SHOWN = 0.3;
const MARGIN = 4;
const NARROW_BELOW = 560;
const LABEL_MAX = 140;

const pen = document.createElement('canvas').getContext('2d');

/** `text`, or as much of it as `width` has room for. */
function fitted(text, width, size, weight) {
    pen.font = `${weight} ${size}px ${getComputedStyle(document.body).fontFamily}`;
    if (pen.measureText(text).width <= width) {
        return text;
    }
    let end = text.length;
    while (end > 1 && pen.measureText(`${text.slice(0, end)}…`).width > width) {
        end -= 1;
    }
    return `${text.slice(0, end)}…`;
}

/** How records are dealt out over an edge, or the side output that they are. */
export const carries = (edge) => (edge.side_output ? `side output ${edge.side_output}` : edge.partitioning.replaceAll('_', ' '));

/** Flink's classes of back-pressure. */
export function pressure(share) {
    return share > 0.5 ? 'high' : share > 0.1 ? 'low' : 'ok';
}

export class GraphView {
    constructor(chosen) {
        this.root = byId('graph');
        this.chosen = chosen;
        this.shape = '';
        this.zoom = null;
        this.size = { width: 1, height: 1 };
        this.drawing = svg('svg', { class: 'graph-drawing' }, patterns());
        this.regions = svg('g');
        this.edges = svg('g');
        this.vertices = svg('g');
        this.drawing.append(this.regions, this.edges, this.vertices);
        this.root.append(el('div', { class: 'graph-scroll' }, this.drawing));
        roving(this.root, () => [...this.vertices.children], (key, all, from) => this.neighbour(key, all, from));
        byId('graph-smaller').addEventListener('click', () => this.resize((this.zoom ?? this.fit()) / 1.2));
        byId('graph-larger').addEventListener('click', () => this.resize((this.zoom ?? this.fit()) * 1.2));
        byId('graph-fit').addEventListener('click', () => this.resize(null));
        new ResizeObserver(() => this.job && this.show(this.job, this.open)).observe(this.root);
    }

    /** Draws the job; `open` is the id of the vertex whose subtasks are shown. */
    show(job, open) {
        Object.assign(this, { job, open });
        if (this.root.clientWidth === 0) {
            return;
        }
        this.arrange();
        const states = new Map(job.regions.map((region) => [region.region, region]));
        const holding = new Set(holdsBack(job).map((held) => held.source));
        keyed(this.regions, this.places.regions, (place) => place.region, createRegion, (node, place) =>
            updateRegion(node, place, states.get(place.region), this.places.regions.length > 1));
        const edges = job.edges.map((edge, at) => ({ edge, at, path: this.places.paths.get(at) })).filter(({ path }) => path);
        keyed(this.edges, edges, ({ at }) => at, createEdge, updateEdge);
        keyed(this.vertices, job.vertices, (vertex) => vertex.id, (vertex) => createVertex(vertex, this.chosen), (node, vertex) => {
            const state = states.get(vertex.region)?.state ?? 'running';
            arrangeVertex(node, this.dimensions, this.places.nodes.get(vertex.id));
            updateVertex(node, vertex, this.dimensions, state, [vertex.name, ...vertex.operators].some((name) => holding.has(name)), open === vertex.id);
        });
        const all = [...this.vertices.children];
        if (all.length > 0 && !all.some((node) => node.getAttribute('tabindex') === '0')) {
            focusAmong(all, all[0]);
        }
    }

    /** Lays the graph out anew when its shape or the room for it has changed. */
    arrange() {
        const { vertices, edges } = this.job;
        const width = this.root.clientWidth - 2 * MARGIN;
        const shape = JSON.stringify([width, vertices.map((one) => [one.id, one.region]), edges.map((one) => [one.from, one.to, carries(one)])]);
        if (shape !== this.shape) {
            this.shape = shape;
            const labelWidth = (edge) => Math.max(72, Math.min(LABEL_MAX, carries(edge).length * 5.8 + 6));
            this.dimensions = width < NARROW_BELOW ? NARROW : WIDE;
            this.places = placeWithin(vertices, edges, labelWidth, this.dimensions, width);
            this.resize(this.zoom);
        }
    }

    fit() {
        const room = (this.root.clientWidth - 2 * MARGIN) / this.places.width;
        return Math.min(SCALE_MAX, Math.max(SCALE_MIN, room));
    }

    resize(zoom) {
        this.zoom = zoom === null ? null : Math.min(2, Math.max(0.25, zoom));
        const scale = this.zoom ?? this.fit();
        setAttribute(this.drawing, 'viewBox', `0 0 ${this.places.width} ${this.places.height}`);
        setAttribute(this.drawing, 'width', Math.round(this.places.width * scale));
        setAttribute(this.drawing, 'height', Math.round(this.places.height * scale));
    }

    /** The nearest vertex in the direction of the arrow key. */
    neighbour(key, all, from) {
        const directions = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };
        if (!(key in directions)) {
            return { Home: all[0], End: all.at(-1) }[key] ?? null;
        }
        const [dx, dy] = directions[key];
        const here = this.places.nodes.get(this.job.vertices[from].id);
        let best = null;
        this.job.vertices.forEach((vertex, at) => {
            const there = this.places.nodes.get(vertex.id);
            const [x, y] = [there.x - here.x, there.y - here.y];
            const [along, aside] = [x * dx + y * dy, Math.abs(x * dy) + Math.abs(y * dx)];
            const distance = along + 2 * aside;
            if (along > 1 && aside < 3 * along && (best === null || distance < best.distance)) {
                best = { node: all[at], distance };
            }
        });
        return best?.node ?? null;
    }

    focus(id) {
        const all = [...this.vertices.children];
        const node = all[this.job.vertices.findIndex((vertex) => vertex.id === id)];
        if (node) {
            focusAmong(all, node);
            node.focus();
        }
    }
}

/** The hatching of back-pressure, and the heads of arrows. */
function patterns() {
    const hatch = svg('pattern', { id: 'hatch', width: 6, height: 6, patternUnits: 'userSpaceOnUse', patternTransform: 'rotate(45)' },
        svg('rect', { width: 6, height: 6, class: 'backpressured' }), svg('rect', { width: 2, height: 6, class: 'hatch' }));
    const arrow = svg('marker', { id: 'arrow', viewBox: '0 0 8 8', refX: 7, refY: 4, markerWidth: 8, markerHeight: 8, markerUnits: 'userSpaceOnUse', orient: 'auto' },
        svg('path', { d: 'M0 0L8 4L0 8z', class: 'arrow' }));
    return svg('defs', {}, hatch, arrow);
}

function createRegion() {
    return svg('g', { class: 'region' }, svg('rect', { rx: 10 }), svg('text', {}));
}

function updateRegion(node, place, region, framed) {
    const [frame, title] = node.children;
    setAttribute(node, 'data-state', region?.state ?? 'running');
    setAttribute(node, 'class', framed ? 'region' : 'region unframed');
    ['x', 'y', 'width', 'height'].forEach((side) => setAttribute(frame, side, place[side]));
    setAttribute(title, 'x', place.x + 13);
    setAttribute(title, 'y', place.y + 19);
    setText(title, `region ${place.region} · ${region?.state === 'parked' ? '❙❙ ' : ''}${region?.state ?? 'running'}${region?.restarts ? ` · ${format.plural(region.restarts, 'restart')}` : ''}`);
}

function createEdge() {
    return svg('g', { class: 'edge' }, svg('title'), svg('path', { 'marker-end': 'url(#arrow)' }),
        svg('text', { class: 'partitioning' }), svg('text', { class: 'rate' }));
}

function updateEdge(node, { edge, path }) {
    const [title, line, how, rate] = node.children;
    const blocked = edge.credits === 0 && (edge.queued_batches ?? 0) > 0;
    const perSecond = edge.records_per_second ?? 0;
    setAttribute(node, 'data-blocked', blocked);
    setAttribute(line, 'd', curve(path.points));
    line.style.strokeWidth = String(1.25 + Math.min(2.75, Math.log10(1 + perSecond) * 0.45));
    setText(title, `${carries(edge)}, ${format.rate(edge.records_per_second)}, ${format.exact(edge.queued_batches)} batches queued, ${format.exact(edge.credits)} credits left`);
    place(how, path.label, -6);
    place(rate, path.label, 15);
    setText(how, fitted(carries(edge), LABEL_MAX, 11, 400));
    setText(rate, blocked ? `${format.rate(edge.records_per_second)} · full` : format.rate(edge.records_per_second));
}

function place(text, at, below) {
    setAttribute(text, 'x', Math.round(at.x));
    setAttribute(text, 'y', Math.round(at.y + below));
}

function createVertex(vertex, chosen) {
    const node = svg('g', { class: 'vertex', role: 'button', tabindex: -1 }, svg('title'));
    const add = (tag, name, attributes = {}) => {
        node[name] = svg(tag, { class: name, ...attributes });
        node.append(node[name], ' ');
    };
    add('rect', 'body', { rx: 9 });
    add('rect', 'tint', { rx: 9 });
    // In the order in which they are read out.
    add('text', 'name', { y: 38 });
    add('text', 'kind', { y: 19 });
    add('text', 'parallelism', { y: 19, 'text-anchor': 'end' });
    add('text', 'rates', { y: 57 });
    add('text', 'load', { y: 78 });
    add('rect', 'track', { y: 86, height: 7, rx: 2 });
    node.shares = LOAD.slice(0, 2).map((part) => svg('rect', { y: 86, height: 7, class: `share ${part.key}` }));
    node.shares[1].setAttribute('fill', 'url(#hatch)');
    node.append(...node.shares);
    onChosen(node, () => chosen(vertex.id));
    return node;
}

function arrangeVertex(node, { width, height, pad }, at) {
    setAttribute(node, 'transform', `translate(${Math.round(at.x - width / 2)} ${Math.round(at.y - height / 2)})`);
    for (const part of [node.body, node.tint]) {
        setAttribute(part, 'width', width);
        setAttribute(part, 'height', height);
    }
    [node.name, node.kind, node.rates, node.load, node.track].forEach((part) => setAttribute(part, 'x', pad));
    setAttribute(node.parallelism, 'x', width - pad);
    setAttribute(node.track, 'width', width - 2 * pad);
}

function updateVertex(node, vertex, size, regionState, holdsBack, isOpen) {
    const { busy, backpressured } = vertex;
    const runs = regionState === 'running';
    const inner = size.width - 2 * size.pad;
    const isNarrow = size === NARROW;
    setAttribute(node, 'data-state', regionState);
    setAttribute(node, 'data-pressure', runs ? pressure(backpressured) : null);
    setAttribute(node, 'aria-expanded', isOpen ? 'true' : 'false');
    setText(node.firstChild, [...new Set([vertex.name, ...vertex.operators])].join(' → '));
    node.tint.style.fillOpacity = runs ? String(Math.round((busy ?? 0) * 20) / 50) : '0';
    const mark = holdsBack ? 'holds time back' : vertex.skew >= SKEW_SHOWN ? `skew ${format.share(vertex.skew)}` : '';
    const chain = mark === '' && !isNarrow && vertex.operators.length > 1 ? ` · ${vertex.operators.length} operators` : '';
    setText(node.kind, isNarrow && mark !== '' ? '' : vertex.kind + chain);
    setText(node.parallelism, `${mark} ×${vertex.parallelism}`.trim());
    setText(node.name, fitted(vertex.name, inner, 14, 600));
    setText(node.rates, rates(vertex));
    setText(node.load, runs ? load(vertex, isNarrow) : regionState);
    const said = ['name', 'kind', 'parallelism', 'rates', 'load'].map((part) => node[part].textContent).join(' ');
    setAttribute(node, 'aria-label', node.name.textContent === vertex.name ? said : `${said}, ${vertex.name}`);
    // Each is the largest of the subtasks, so both together may be more than the whole.
    let x = size.pad;
    node.shares.forEach((share, nth) => {
        const width = runs ? Math.min((vertex[LOAD[nth].key] ?? 0) * inner, size.width - size.pad - x) : 0;
        setAttribute(share, 'x', x.toFixed(1));
        setAttribute(share, 'width', width.toFixed(1));
        x += width;
    });
}

function rates(vertex) {
    const [into, out] = [format.rate(vertex.records_in_per_second), format.rate(vertex.records_out_per_second)];
    return { source: `out ${out}`, sink: `in ${into}` }[vertex.kind] ?? `in ${into} out ${out}`;
}

/** The load in words. Where there is little room, back-pressure is more worth saying; the bar shows both. */
function load({ busy, backpressured }, isNarrow) {
    if (pressure(backpressured) === 'ok') {
        return `busy ${format.share(busy)}`;
    }
    const pressed = `pressured ${format.share(backpressured)}`;
    return isNarrow ? pressed : `busy ${format.share(busy)} · ${pressed}`;
}
