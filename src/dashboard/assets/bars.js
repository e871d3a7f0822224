// Bars of several parts. Each part has a colour and a pattern of its own, and the bar says in words what it shows.

import { el, keyed, setAttribute } from './dom.js';
import * as format from './format.js';

export const LOAD = [
    { key: 'busy', name: 'busy' },
    { key: 'backpressured', name: 'back-pressured' },
    { key: 'idle', name: 'idle' },
];

export const CHECKPOINT_PARTS = [
    { key: 'start_delay_ms', name: 'start delay', color: 'start-delay', hint: 'until the first barrier reaches the slowest subtask' },
    { key: 'alignment_ms', name: 'alignment', color: 'alignment', hint: 'until the barriers of all its inputs are there' },
    { key: 'sync_ms', name: 'synchronous', color: 'sync', hint: 'its state is captured, and it processes nothing' },
    { key: 'async_ms', name: 'asynchronous', color: 'async', hint: 'its snapshot is written beside the work' },
    { key: 'store_ms', name: 'store', color: 'store', hint: 'the store makes the checkpoint durable' },
];

export const RECOVERY_PARTS = [
    { key: 'restart_ms', name: 'restart', color: 'start-delay' },
    { key: 'restore_ms', name: 'restore', color: 'sync' },
    { key: 'reprocessing_ms', name: 'reprocessing', color: 'async' },
];

/** An empty bar for `fill`. */
export const bar = () => el('div', { class: 'bar', role: 'img' });

/** Shows the `parts` of `figures` in a bar whose whole width stands for `whole`. */
export function fill(node, parts, figures, whole, write) {
    const known = parts.filter((part) => (figures[part.key] ?? 0) > 0);
    keyed(node, known, (part) => part.key, (part) => el('span', { class: part.color ?? part.key }), (span, part) => {
        span.style.width = `${Math.min(100, (100 * figures[part.key]) / (whole || 1))}%`;
    });
    const words = known.map((part) => `${part.name} ${write(figures[part.key])}`).join(', ') || 'nothing measured yet';
    setAttribute(node, 'aria-label', words);
    setAttribute(node, 'title', words);
}

/** The load of a vertex or a subtask. */
export function fillLoad(node, figures) {
    fill(node, LOAD, figures, 1, format.share);
}

export const total = (parts, figures) => parts.reduce((sum, part) => sum + (figures[part.key] ?? 0), 0);

/** The items of a legend. */
export const legend = (parts) => parts.map((part) => el('li', { title: part.hint ?? null }, el('span', { class: `swatch ${part.color ?? part.key}` }), part.name));
