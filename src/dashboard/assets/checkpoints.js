// Checkpoints: how many, how long, how large, what their time was spent on, and what interval is advised.

import { byId, el, keyed, roving, setAttribute, setText, table } from './dom.js';
import { CHECKPOINT_PARTS, RECOVERY_PARTS, bar, fill, legend, total } from './bars.js';
import * as format from './format.js';
import { tiles } from './header.js';

const right = (name) => ({ name, number: true });
const SUMMARY = [
    { key: 'duration_ms', name: 'Duration', write: format.duration },
    { key: 'written_bytes', name: 'Written', write: format.bytes },
    { key: 'state_bytes', name: 'State', write: format.bytes },
];
const QUANTILES = ['min', 'avg', 'p50', 'p99', 'max'];
const SUBTASK_PARTS = CHECKPOINT_PARTS.filter((part) => part.key !== 'store_ms');

/** What the whole width of the bars stands for. A checkpoint that failed may have waited for long, and does not count. */
const longest = (checkpoints) => Math.max(1, ...checkpoints.filter((one) => one.status === 'completed').map((one) => Math.max(one.duration_ms ?? 0, total(CHECKPOINT_PARTS, one))));

export class CheckpointsView {
    /** `ask(id)` gives the details of a checkpoint. */
    constructor(ask) {
        this.ask = ask;
        this.open = null;
        this.details = null;
        const summary = table('Summary of completed checkpoints', ['', ...QUANTILES.map(right)]);
        this.summary = summary.body;
        byId('checkpoint-summary').append(summary.box);
        byId('parts-legend').append(...legend(CHECKPOINT_PARTS));
        const columns = [right('Id'), 'Status', 'Triggered', 'Reason', right('Duration'), 'Parts', right('Written'), right('State'), 'Slowest'];
        const history = table('History of checkpoints, newest first', columns);
        this.history = history.body;
        byId('checkpoint-history').append(history.box);
        roving(history.box, () => [...this.history.querySelectorAll('button')]);
        history.box.addEventListener('keydown', (event) => event.key === 'Escape' && this.open !== null && this.choose(this.open));
        this.advice = el('p', { class: 'facts' });
        this.recoveryBar = bar();
        this.recovery = el('div', {}, el('ul', { class: 'legend' }, ...legend(RECOVERY_PARTS)), this.recoveryBar);
        this.recoveryText = el('p', { class: 'facts' });
        byId('advice').append(this.advice, this.recovery, this.recoveryText);
    }

    show(model) {
        const { job, checkpoints } = model;
        this.model = model;
        this.showAdvice(job);
        if (!checkpoints) {
            return;
        }
        showCounts(checkpoints);
        keyed(this.summary, SUMMARY, (line) => line.key, () => el('tr', {}, el('th', { scope: 'row' }), ...QUANTILES.map(() => el('td', { class: 'number' }))), (row, line) => {
            const [head, ...cells] = row.children;
            setText(head, line.name);
            QUANTILES.forEach((quantile, at) => setText(cells[at], line.write(checkpoints.summary?.[line.key]?.[quantile] ?? null)));
        });
        const whole = longest(checkpoints.history);
        const rows = checkpoints.history.flatMap((one) => (one.id === this.open ? [{ ...one, key: one.id }, { ...one, key: `${one.id} details`, isDetails: true }] : [{ ...one, key: one.id }]));
        keyed(this.history, rows, (row) => row.key, (one) => (one.isDetails ? detailsRow() : this.row(one)), (row, one) =>
            one.isDetails ? this.showDetails(row, one) : this.showRow(row, one, whole));
    }

    row(checkpoint) {
        const button = el('button', { class: 'link', type: 'button', onclick: () => this.choose(checkpoint.id) });
        return el('tr', {}, el('th', { scope: 'row', class: 'number' }, button), el('td'), el('td'), el('td'), el('td', { class: 'number' }),
            el('td', { class: 'parts' }, bar()), el('td', { class: 'number' }), el('td', { class: 'number' }), el('td'));
    }

    showRow(row, one, whole) {
        const [head, status, triggered, reason, took, parts, written, state, slowest] = row.children;
        setText(head.firstChild, `#${one.id}`);
        setAttribute(head.firstChild, 'aria-expanded', this.open === one.id ? 'true' : 'false');
        setAttribute(head.firstChild, 'aria-label', `Checkpoint ${one.id}, subtasks`);
        setText(status, one.status.replaceAll('_', ' '));
        setAttribute(status, 'data-state', one.status);
        setText(triggered, format.clock(one.triggered_unix_ms));
        setAttribute(triggered, 'title', format.moment(one.triggered_unix_ms));
        setText(reason, one.reason.replaceAll('_', ' '));
        setText(took, format.duration(one.duration_ms));
        fill(parts.firstChild, CHECKPOINT_PARTS, one, whole, format.duration);
        setText(written, format.bytes(one.written_bytes));
        setText(state, format.bytes(one.state_bytes));
        setText(slowest, one.failure ?? this.subtaskName(one.slowest));
        setAttribute(slowest, 'class', one.failure ? 'cause' : null);
    }

    subtaskName(place) {
        const vertex = place && this.model.job.vertices.find((one) => one.id === place.vertex);
        return place ? `${vertex?.name ?? `vertex ${place.vertex}`}[${place.subtask}]` : '–';
    }

    /** Opens the subtasks of a checkpoint, or closes them. */
    async choose(id) {
        this.open = this.open === id ? null : id;
        this.details = null;
        this.show(this.model);
        if (this.open === null) {
            return;
        }
        try {
            const details = await this.ask(id);
            this.details = this.open === id ? details : this.details;
        } catch (error) {
            this.details = { error: error.message };
        }
        this.show(this.model);
    }

    showDetails(row, one) {
        const { note, body, box } = row.parts;
        const subtasks = this.details?.subtasks ?? [];
        const empty = one.status === 'in_progress' ? 'Its subtasks have not acknowledged yet.' : 'No figures of its subtasks are kept.';
        setText(note, this.details === null ? 'Asking for its subtasks.' : this.details.error ?? (subtasks.length === 0 ? empty : ''));
        note.hidden = note.textContent === '';
        box.hidden = subtasks.length === 0;
        const whole = Math.max(1, ...subtasks.map((subtask) => Math.max(subtask.end_to_end_ms ?? 0, total(SUBTASK_PARTS, subtask))));
        keyed(body, subtasks, (subtask) => `${subtask.vertex} ${subtask.subtask}`, partsRow, (line, subtask) => {
            const [name, took, parts, ...cells] = line.children;
            setText(name, this.subtaskName(subtask));
            setText(took, format.duration(subtask.end_to_end_ms));
            fill(parts.firstChild, SUBTASK_PARTS, subtask, whole, format.duration);
            const texts = [...SUBTASK_PARTS.map((part) => format.duration(subtask[part.key])), format.bytes(subtask.written_bytes)];
            texts.forEach((text, at) => setText(cells[at], text));
        });
    }

    showAdvice(job) {
        const { advice, recovery, interval_ms: interval } = job;
        const inUse = interval === null ? 'No periodic checkpoints are taken.' : `A checkpoint is taken every ${format.duration(interval)}.`;
        setText(this.advice, advice === null ? `${inUse} Advice follows once checkpoints have been measured.` : `${inUse} ${adviceText(advice)}`);
        this.recovery.hidden = this.recoveryText.hidden = recovery === null;
        if (recovery !== null) {
            const all = total(RECOVERY_PARTS, recovery);
            fill(this.recoveryBar, RECOVERY_PARTS, recovery, all, format.duration);
            setText(this.recoveryText, `A recovery is expected to take ${format.duration(all)}: restart ${format.duration(recovery.restart_ms)}, `
                + `restore ${format.duration(recovery.restore_ms)}, reprocessing ${format.duration(recovery.reprocessing_ms)}.`);
        }
    }
}

function adviceText(advice) {
    const seen = advice.failures === 0 ? 'none seen yet, so assumed' : `${format.exact(advice.failures)} seen`;
    return `Advised is every ${format.duration(advice.interval_ms)} (Daly; Young ${format.duration(advice.young_ms)}): a checkpoint costs `
        + `${format.duration(advice.cost_ms)}, and a failure comes every ${format.duration(advice.failure_spacing_ms)} (${seen}).`;
}

function detailsRow() {
    const columns = ['Subtask', right('End to end'), 'Parts', ...SUBTASK_PARTS.map((part) => right(part.name)), right('Written')];
    const { box, body } = table('Subtasks of the checkpoint', columns);
    const note = el('p', { class: 'facts' });
    const row = el('tr', { class: 'details' }, el('td', { colspan: 9 }, note, box));
    row.parts = { note, body, box };
    return row;
}

function partsRow() {
    return el('tr', {}, el('th', { scope: 'row' }), el('td', { class: 'number' }), el('td', { class: 'parts' }, bar()),
        ...SUBTASK_PARTS.map(() => el('td', { class: 'number' })), el('td', { class: 'number' }));
}

function showCounts({ counts, latest }) {
    const last = (one) => (one ? `newest #${one.id ?? one.checkpoint}` : 'none yet');
    tiles(byId('checkpoint-counts'), [
        { name: 'Triggered', value: format.exact(counts.triggered), note: latest.savepoint ? `savepoint of #${latest.savepoint.checkpoint}` : 'no savepoint' },
        { name: 'In progress', value: format.exact(counts.in_progress), note: '' },
        { name: 'Completed', value: format.exact(counts.completed), note: last(latest.completed) },
        { name: 'Failed', value: format.exact(counts.failed), note: last(latest.failed), alarm: (latest.failed?.id ?? 0) > (latest.completed?.id ?? 0) },
        { name: 'Restored', value: format.exact(counts.restored), note: last(latest.restored) },
    ]);
}

/** The newest completed checkpoint at a glance. */
export class NewestCheckpoint {
    constructor() {
        this.bar = bar();
        this.text = el('p', { class: 'facts' });
        this.parts = el('dl', { class: 'pairs' });
        byId('newest-checkpoint').append(this.bar, this.parts, this.text);
    }

    show({ job, checkpoints }, now) {
        const one = checkpoints?.latest.completed ?? null;
        this.bar.hidden = this.parts.hidden = one === null;
        if (one === null) {
            setText(this.text, 'No checkpoint has completed yet.');
            return;
        }
        fill(this.bar, CHECKPOINT_PARTS, one, total(CHECKPOINT_PARTS, one), format.duration);
        const create = (part) => el('div', {}, el('dt', {}, el('span', { class: `swatch ${part.color}` }), part.name), el('dd'));
        keyed(this.parts, CHECKPOINT_PARTS, (part) => part.key, create, (pair, part) => setText(pair.lastChild, format.duration(one[part.key])));
        const ago = Math.max(0, now - one.triggered_unix_ms - (one.duration_ms ?? 0));
        const advised = job.advice === null ? '' : ` Advised interval ${format.duration(job.advice.interval_ms)}, in use ${format.duration(job.interval_ms)}.`;
        setText(this.text, `#${one.id} took ${format.duration(one.duration_ms)}, ${format.age(ago)} ago: ${format.bytes(one.written_bytes)} written, ${format.bytes(one.state_bytes)} in all.${advised}`);
    }
}
