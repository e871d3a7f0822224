// One vertex: its operators, its edges, and its subtasks with their skew; and all vertices as a table.

import { byId, el, keyed, roving, setAttribute, setText, table } from './dom.js';
import { bar, fillLoad } from './bars.js';
import { carries } from './graph.js';
import * as format from './format.js';

const right = (name, hint) => ({ name, hint, number: true });
const FIGURES = [
    right('In/s', 'records received each second'), right('Out/s', 'records sent each second'), right('In'), right('Out'), right('Bytes in'),
    right('Bytes out'), 'Load', 'Watermark', right('Lag', 'how far the watermark is behind the clock'), right('Late', 'late records, which were dropped or sent aside'),
    right('Keys', 'entries of state'), right('State'), right('Timers'),
];

/** The cells of the figures that vertices and subtasks have alike. */
function figureCells() {
    return FIGURES.map((column) => el('td', { class: column.number ? 'number' : null }, ...(column === 'Load' ? [bar()] : [])));
}

function updateFigures(cells, figures) {
    const texts = [
        format.rate(figures.records_in_per_second), format.rate(figures.records_out_per_second),
        format.count(figures.records_in), format.count(figures.records_out), format.bytes(figures.bytes_in), format.bytes(figures.bytes_out),
        null, format.watermark(figures.watermark), format.duration(figures.watermark_lag_ms), format.count(figures.late_records),
        format.count(figures.state_entries), format.bytes(figures.state_bytes), format.count(figures.timers),
    ];
    texts.forEach((text, at) => (text === null ? fillLoad(cells[at].firstChild, figures) : setText(cells[at], text)));
}

/** All vertices as a table, for many of them and for those who read by ear. */
export class VertexTable {
    constructor(chosen) {
        this.chosen = chosen;
        const { box, body } = table('Vertices of the job', ['Vertex', right('Subtasks'), ...FIGURES]);
        this.body = body;
        byId('vertices').append(box);
        roving(box, () => [...body.querySelectorAll('button')]);
    }

    show(job, open) {
        keyed(this.body, job.vertices, (vertex) => vertex.id, (vertex) => this.row(vertex), (row, vertex) => {
            const [head, subtasks, ...cells] = row.children;
            setText(head.firstChild, vertex.name);
            setAttribute(head.firstChild, 'aria-expanded', open === vertex.id ? 'true' : 'false');
            setText(subtasks, format.exact(vertex.parallelism));
            updateFigures(cells, vertex);
        });
    }

    row(vertex) {
        const button = el('button', { class: 'link', type: 'button', onclick: () => this.chosen(vertex.id) });
        return el('tr', {}, el('th', { scope: 'row' }, button), el('td', { class: 'number' }), ...figureCells());
    }
}

/** The subtasks of the vertex that was chosen. */
export class VertexPanel {
    constructor(closed) {
        this.root = byId('vertex');
        this.name = el('h2', { id: 'vertex-name', tabindex: -1 });
        const close = el('button', { class: 'quiet icon', type: 'button', 'aria-label': 'Close the subtasks', text: '×', onclick: closed });
        this.facts = el('p', { class: 'facts' });
        this.edges = el('ul', { class: 'plain' });
        const { box, body } = table('Subtasks', [right('Subtask'), 'State', right('Attempt'), 'Share of records', ...FIGURES]);
        this.body = body;
        this.root.append(el('div', { class: 'card-head' }, this.name, close), this.facts, box, this.edges);
        this.root.addEventListener('keydown', (event) => event.key === 'Escape' && closed());
    }

    show(job, open) {
        const vertex = job.vertices.find((one) => one.id === open);
        this.root.hidden = vertex === undefined;
        if (vertex === undefined) {
            return;
        }
        setText(this.name, `${vertex.name} · ${format.plural(vertex.parallelism, 'subtask')}`);
        setText(this.facts, facts(vertex));
        const received = (subtask) => subtask.records_in || subtask.records_out;
        const most = Math.max(1, ...vertex.subtasks.map(received));
        keyed(this.body, vertex.subtasks, (subtask) => subtask.subtask, subtaskRow, (row, subtask) => {
            const [number, state, attempt, share, ...cells] = row.children;
            setText(number, format.exact(subtask.subtask));
            setText(state, subtask.state);
            setAttribute(state, 'data-state', subtask.state);
            setText(attempt, format.exact(subtask.attempt));
            share.firstChild.style.width = `${(100 * received(subtask)) / most}%`;
            setAttribute(share, 'title', `${format.exact(received(subtask))} records`);
            updateFigures(cells, subtask);
        });
        const names = new Map(job.vertices.map((one) => [one.id, one.name]));
        const own = job.edges.map((edge, at) => ({ edge, at })).filter(({ edge }) => edge.from === open || edge.to === open);
        keyed(this.edges, own, ({ at }) => at, () => el('li'), (item, { edge }) => {
            const [way, other] = edge.to === open ? ['from', edge.from] : ['to', edge.to];
            const queued = `${format.plural(edge.queued_batches, 'batch', 'batches')} queued`;
            setText(item, `${way} ${names.get(other)}: ${carries(edge)}, ${format.rate(edge.records_per_second)}, ${queued}, ${format.plural(edge.credits, 'credit')} left`);
        });
    }

    focus() {
        this.name.focus({ preventScroll: true });
        this.root.scrollIntoView({ block: 'nearest' });
    }
}

function subtaskRow() {
    return el('tr', {}, el('th', { scope: 'row', class: 'number' }), el('td', { class: 'subtask-state' }), el('td', { class: 'number' }),
        el('td', { class: 'skew' }, el('span', { class: 'skew-bar' })), ...figureCells());
}

function facts(vertex) {
    const chain = vertex.operators.length > 1 ? `Chained operators: ${vertex.operators.join(' → ')}. ` : '';
    const skew = vertex.skew === null ? '' : `Skew ${format.share(vertex.skew)}: how unevenly its subtasks are given records. `;
    return `${chain}${skew}Region ${vertex.region}, at most ${format.plural(vertex.max_parallelism, 'subtask')}.`;
}
