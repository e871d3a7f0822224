// Watermarks, and what holds them back.

import { byId, el, keyed, setAttribute, setText } from './dom.js';
import * as format from './format.js';

const SHOWN = 6;
const HELD_FOR_MS = 2_000;

/** What holds event time back for long enough to be worth a word: some split is the slowest at any moment. */
export const holdsBack = (job) => job.held_back.filter((held) => held.since_ms >= HELD_FOR_MS);

export function showEventTime(job) {
    const root = byId('event-time');
    root.parts ??= build(root);
    const { held, rows, none, more } = root.parts;
    const holding = holdsBack(job);
    const timed = job.vertices.filter((vertex) => vertex.watermark !== null);
    const lag = (vertex) => vertex.watermark_lag_ms ?? 0;
    const behind = [...timed].sort((one, other) => lag(other) - lag(one)).slice(0, SHOWN);
    none.hidden = timed.length > 0 || holding.length > 0;
    keyed(held, holding, (one) => `${one.region} ${one.source} ${one.split} ${one.subtask}`, () => el('li', { class: 'notice' }), (item, one) => {
        const at = one.watermark === null ? 'before its first watermark' : `at ${format.watermark(one.watermark)}`;
        // A strategy in mid-stream has no splits, and not every source names its own.
        const who = one.split === null ? 'it' : `split ${one.split}`;
        setText(item, `${one.source}[${one.subtask}] holds region ${one.region} back: ${who} stands ${at} for ${format.duration(one.since_ms)}.`);
    });
    keyed(rows, behind, (vertex) => vertex.id, () => el('div', {}, el('dt'), el('dd')), (pair, vertex) => {
        const [name, value] = pair.children;
        setText(name, vertex.name);
        setAttribute(name, 'title', vertex.name);
        setText(value, vertex.watermark_lag_ms === null ? format.watermark(vertex.watermark) : `${format.duration(vertex.watermark_lag_ms)} behind`);
        setAttribute(value, 'title', format.watermark(vertex.watermark));
    });
    more.hidden = timed.length <= SHOWN;
    setText(more, `The ${SHOWN} furthest behind of ${format.exact(timed.length)}.`);
}

function build(root) {
    const parts = { held: el('ul', { class: 'plain' }), rows: el('dl', { class: 'pairs' }), none: el('p', { class: 'facts', text: 'No vertex has a watermark.' }), more: el('p', { class: 'facts' }) };
    root.append(parts.held, parts.rows, parts.more, parts.none);
    return parts;
}
