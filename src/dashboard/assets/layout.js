// Where the vertices and edges of a job stand. Each region is laid out by dagre on its own, one below the other: a region is a
// connected part of the graph, and restarts as a whole.

import { Graph, layout as dagre } from './vendor/dagre.esm.js';

/** The size of a vertex, the room within it at its sides, and the room between a region's frame and its vertices. */
export const WIDE = { width: 194, height: 102, pad: 12, edge: 14 };
/** The same where there is little room. */
export const NARROW = { width: 150, height: 102, pad: 9, edge: 8 };
const REGION_GAP = 26;
const REGION_TITLE = 20;

/**
 * Places for `vertices` and `edges`, left to right (`LR`) or top down (`TB`): `nodes` by id with their centre, `paths` by the
 * edge's index with their points and the place of the label, the rectangles of `regions`, and the whole size.
 */
function place(vertices, edges, labelWidth, size, direction) {
    const ids = [...new Set(vertices.map((vertex) => vertex.region))].sort((one, other) => one - other);
    const placed = { nodes: new Map(), paths: new Map(), regions: [], width: 0, height: 0 };
    const framed = ids.length > 1;
    for (const region of ids) {
        const members = vertices.filter((vertex) => vertex.region === region);
        const graph = placeRegion(members, edges, labelWidth, size, direction);
        const edge = framed ? size.edge : 2;
        const top = placed.height + (framed && placed.height > 0 ? REGION_GAP : 0);
        const shift = (point) => ({ x: point.x + edge, y: point.y + top + edge + (framed ? REGION_TITLE : 0) });
        graph.nodes().forEach((id) => placed.nodes.set(Number(id), shift(graph.node(id))));
        for (const id of graph.edges()) {
            const found = graph.edge(id);
            placed.paths.set(Number(id.name), { points: found.points.map(shift), label: shift(found) });
        }
        const { width, height } = graph.graph();
        const frame = { region, x: 1, y: top + 1, width: width + 2 * edge - 2, height: height + 2 * edge - 2 + (framed ? REGION_TITLE : 0) };
        placed.regions.push(frame);
        placed.width = Math.max(placed.width, frame.width + 2);
        placed.height = top + frame.height + 2;
    }
    return placed;
}

function placeRegion(members, edges, labelWidth, { width, height }, direction) {
    const graph = new Graph({ directed: true, multigraph: true });
    graph.setGraph({ rankdir: direction, nodesep: direction === 'LR' ? 22 : 18, ranksep: direction === 'LR' ? 22 : 26, edgesep: 14 });
    graph.setDefaultEdgeLabel(() => ({}));
    members.forEach((vertex) => graph.setNode(String(vertex.id), { width, height }));
    edges.forEach((edge, at) => {
        if (graph.hasNode(String(edge.from)) && graph.hasNode(String(edge.to))) {
            const label = { width: labelWidth(edge), height: 36, labelpos: 'c' };
            graph.setEdge(String(edge.from), String(edge.to), label, String(at));
        }
    });
    dagre(graph);
    return graph;
}

/** The better of both directions for a place of `width`: the one that need be shrunk less, left to right if in doubt. */
export function placeWithin(vertices, edges, labelWidth, size, width) {
    const across = place(vertices, edges, labelWidth, size, 'LR');
    if (across.width <= width * 1.2) {
        return across;
    }
    const down = place(vertices, edges, labelWidth, size, 'TB');
    return down.width < across.width ? down : across;
}

/** A smooth line through the points. */
export function curve(points) {
    const [first, ...rest] = points;
    const last = rest.at(-1);
    let path = `M${round(first)}`;
    rest.slice(0, -1).forEach((point, at) => {
        const next = rest[at + 1];
        const end = next === last ? last : { x: (point.x + next.x) / 2, y: (point.y + next.y) / 2 };
        path += `Q${round(point)} ${round(end)}`;
    });
    return rest.length === 1 ? `${path}L${round(last)}` : path;
}

const round = ({ x, y }) => `${Math.round(x * 10) / 10},${Math.round(y * 10) / 10}`;
