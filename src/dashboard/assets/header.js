// The head of the page: the jobs, the state of the one shown, and its figures at a glance.

import { byId, el, keyed, setAttribute, setText } from './dom.js';
import * as format from './format.js';
import { most, readBy, sum } from './series.js';
import { pressure } from './graph.js';

/** A checkpoint that takes longer is told of while it is under way. */
const LONG_MS = 3_000;

/** Shows `{ name, value, note, alarm }` as tiles. */
export function tiles(root, all) {
    keyed(root, all, (tile) => tile.name, (tile) => el('div', { class: 'tile' }, el('dt', { text: tile.name }), el('dd', { class: 'value' }), el('dd', { class: 'note' })), (node, tile) => {
        const [, value, note] = node.children;
        setText(value, tile.value);
        setText(note, tile.note);
        setAttribute(note, 'title', tile.note);
        setAttribute(node, 'data-alarm', tile.alarm ?? false);
    });
}

/** The menu of jobs, and the table of all of them. */
export class Jobs {
    constructor(chosen) {
        this.picker = byId('picker');
        this.picker.addEventListener('change', () => chosen(this.picker.value));
        const heads = ['Job', 'State', 'Started', 'Ended', 'Restarts', 'Vertices', 'Subtasks', 'Last error'];
        this.body = el('tbody');
        const head = el('thead', {}, el('tr', {}, ...heads.map((text) => el('th', { scope: 'col', text }))));
        byId('jobs-table').append(el('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': 'Jobs' }, el('table', { 'aria-label': 'Jobs' }, head, this.body)));
    }

    show(jobs, shown) {
        const options = [{ id: '', name: 'All jobs' }, ...jobs];
        if (shown && !jobs.some((job) => job.id === shown)) {
            options.push({ id: shown, name: `${shown} (gone)` });
        }
        keyed(this.picker, options, (job) => job.id, (job) => el('option', { value: job.id }), (option, job) =>
            setText(option, job.state === undefined || job.state === 'running' ? job.name : `${job.name} (${job.state})`));
        this.picker.value = shown ?? '';
        byId('no-jobs').hidden = jobs.length > 0;
        byId('jobs-table').hidden = jobs.length === 0;
        keyed(this.body, jobs, (job) => job.id, createRow, updateRow);
    }
}

function createRow(job) {
    const link = el('a', { href: `#/jobs/${encodeURIComponent(job.id)}/overview` });
    return el('tr', {}, el('th', { scope: 'row' }, link), el('td', {}, el('span', { class: 'state' })), ...Array.from({ length: 5 }, () => el('td')), el('td', { class: 'cause' }));
}

function updateRow(row, job) {
    const [head, state, ...cells] = row.children;
    setText(head.firstChild, job.name);
    setText(state.firstChild, job.state);
    setAttribute(state.firstChild, 'data-state', job.state);
    const texts = [format.moment(job.started_unix_ms), format.moment(job.ended_unix_ms), format.exact(job.restarts), format.exact(job.tasks), format.exact(job.subtasks), job.last_error ?? '–'];
    texts.forEach((text, at) => setText(cells[at], text));
}

/** Name, state and figures of the job that is shown. */
export function showHead(job, checkpoints, now) {
    setText(byId('job-name'), job.name);
    setText(byId('job-state'), job.state);
    setAttribute(byId('job-state'), 'data-state', job.state);
    const subtasks = job.vertices.reduce((all, vertex) => all + vertex.parallelism, 0);
    const ran = job.ended_unix_ms === null ? `up ${format.age(now - job.started_unix_ms)}` : `ran ${format.duration(job.ended_unix_ms - job.started_unix_ms)}`;
    setText(byId('job-facts'), `${ran} · ${format.plural(job.vertices.length, 'vertex', 'vertices')} · ${format.plural(subtasks, 'subtask')} · ${format.plural(job.regions.length, 'region')} · started ${format.moment(job.started_unix_ms)}`);
    tiles(byId('tiles'), figures(job, checkpoints, now));
}

function figures(job, checkpoints, now) {
    const [busiest, pressed, behind] = ['busy', 'backpressured', 'watermark_lag_ms'].map((figure) => most(job.vertices, figure));
    const newest = checkpoints?.latest.completed ?? null;
    const keys = sum(job.vertices, 'state_entries');
    const downtime = sum(job.regions, 'downtime_ms');
    const isDown = job.ended_unix_ms === null && job.regions.some((region) => region.state !== 'running');
    const down = isDown ? 'down now' : downtime ? `${format.duration(downtime)} down` : 'never down';
    return [
        { name: 'Records read', value: format.rate(readBy(job, 'per_second')), note: `${format.count(readBy(job))} in all` },
        { name: 'Busiest', value: format.share(busiest?.busy), note: busiest?.name ?? '' },
        { name: 'Back-pressure', value: format.share(pressed?.backpressured), note: pressed ? `${pressure(pressed.backpressured)}, ${pressed.name}` : '', alarm: pressed !== null && pressure(pressed.backpressured) === 'high' },
        { name: 'Watermark lag', value: format.duration(behind?.watermark_lag_ms), note: behind?.name ?? 'no event time' },
        { name: 'Checkpoint', value: format.duration(newest?.duration_ms), note: newest ? `#${newest.id}, ${format.age(now - newest.triggered_unix_ms)} ago` : 'none completed' },
        { name: 'State', value: format.bytes(sum(job.vertices, 'state_bytes')), note: keys === null ? uncounted(job) : `${format.count(keys)} keys` },
        { name: 'Restarts', value: format.exact(job.restarts), note: down, alarm: isDown },
    ];
}

/** A region that has given up and waits for somebody. */
function parked({ region, parked: { cause, since_unix_ms, checkpoint } }, controls, now) {
    const from = checkpoint === null ? 'the beginning' : `checkpoint ${checkpoint}`;
    const text = `❙❙ Region ${region} is parked for ${format.age(now - since_unix_ms)}: it gave up, and the others run on. It goes on from ${from} once it is resumed${controls.usable ? '' : ' (Unlock the controls for that)'}. ${cause}`;
    return { key: `region ${region}`, level: 'warning', text, action: controls.usable ? { text: `Resume region ${region}`, run: () => controls.resume(region) } : undefined };
}

/** How far the checkpoint is that is under way, if it takes long, and each savepoint that is written. */
function underWay(job, now) {
    const all = job.savepoints_in_progress.map((one) => ({
        key: `savepoint ${one.path}`, level: 'info', text: `A savepoint of checkpoint ${one.checkpoint} is written to ${one.path}: ${format.bytes(one.bytes)} of ${format.bytes(one.of_bytes)}.`,
        done: one.bytes / Math.max(1, one.of_bytes), bar: 'Written',
    }));
    const one = job.checkpoint_in_progress;
    if (one !== null && now - one.since_unix_ms >= LONG_MS) {
        const purpose = one.reason === 'savepoint' ? ' of a savepoint' : '';
        const missing = one.acknowledged < one.of ? `${format.exact(one.acknowledged)} of ${format.plural(one.of, 'subtask')} acknowledged` : 'all subtasks acknowledged, the store makes it durable';
        all.push({ key: 'checkpoint', level: 'info', text: `Checkpoint ${one.checkpoint}${purpose} is under way for ${format.age(now - one.since_unix_ms)}: ${missing}, ${format.bytes(one.bytes)} stored.`, done: one.acknowledged / Math.max(1, one.of), bar: 'Acknowledged' });
    }
    return all;
}

/** Why no keys are known: they are counted at barriers. */
function uncounted(job) {
    if (job.newest_checkpoint !== null) {
        return 'no keyed state';
    }
    return job.interval_ms === null ? 'not counted without checkpoints' : 'not counted yet';
}

/** What has to be known before any figure: that the job is paused, restores, has ended, or is gone. */
export function showNotices(model, restoring, controls, now) {
    const { job, gone } = model;
    const all = [];
    if (gone) {
        all.push({ key: 'gone', level: 'error', text: `The server knows no job “${model.jobId}” any more. These are the last figures that the page has of it.` });
    } else if (job.ended_unix_ms !== null) {
        const why = job.state === 'failed' && job.last_error ? ` ${job.last_error}` : '';
        all.push({ key: 'ended', level: job.state === 'failed' ? 'error' : 'info', text: `The job has ended (${job.state}) at ${format.moment(job.ended_unix_ms)}; these are its last figures.${why}` });
    } else if (job.paused_since_unix_ms !== null) {
        all.push({ key: 'paused', level: 'info', text: `Paused since ${format.moment(job.paused_since_unix_ms)}: its sources read nothing until it is resumed.` });
    }
    if (!gone && job.ended_unix_ms === null) {
        all.push(...job.regions.filter((region) => region.parked !== null).map((region) => parked(region, controls, now)));
        const down = job.regions.filter((region) => region.state !== 'running' && region.parked === null);
        all.push(...down.map((region) => ({ key: `region ${region.region}`, level: 'warning', text: `Region ${region.region} is ${region.state}, attempt ${region.attempt}${region.restarting_since_unix_ms ? `, for ${format.age(now - region.restarting_since_unix_ms)}` : ''}.${region.state === 'restarting' && job.last_error ? ` ${job.last_error}` : ''}` })));
        all.push(...restoring.map((one) => ({ key: `restores ${one.actor}`, level: 'info', text: `${one.actor} restores checkpoint ${one.checkpoint}: ${format.bytes(one.bytes)} of ${format.bytes(one.bytes_total)}, ${format.exact(one.entries)} keys.`, done: one.bytes / Math.max(1, one.bytes_total), bar: 'Restored' })));
        all.push(...underWay(job, now));
    }
    keyed(byId('notices'), all, (notice) => notice.key, () => el('p', { class: 'banner' }, el('span'), el('progress', { max: 1 }), el('button', { type: 'button' })), (node, notice) => {
        const [text, progress, button] = node.children;
        setAttribute(node, 'data-level', notice.level);
        button.hidden = notice.action === undefined;
        setText(button, notice.action?.text ?? '');
        button.onclick = notice.action?.run ?? null;
        setText(text, notice.text);
        setAttribute(progress, 'aria-label', notice.bar ?? null);
        progress.hidden = notice.done === undefined;
        progress.value = notice.done ?? 0;
    });
}
