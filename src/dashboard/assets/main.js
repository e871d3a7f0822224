// Asks the server again and again, keeps what it said, and has the views show it. The address after `#` says which job and view.

import { byId, el, focusAmong, keyed, roving, setAttribute } from './dom.js';
import { ApiError, get, jobPath, listen } from './api.js';
import { CheckpointsView, NewestCheckpoint } from './checkpoints.js';
import { Connection } from './connection.js';
import { Controls } from './controls.js';
import { showEventTime } from './event-time.js';
import { showFailures } from './failures.js';
import { GraphView } from './graph.js';
import { Jobs, showHead, showNotices } from './header.js';
import { EventLog, LogView, showBrief } from './log.js';
import { overviewPlots, metricsPlots } from './charts.js';
import { Series, SAMPLED, sample } from './series.js';
import { StateView } from './state.js';
import { VertexPanel, VertexTable } from './vertex.js';

const EVERY_MS = 1_000;
const HIDDEN_EVERY_MS = 5_000;
/** Without a new checkpoint, those of before are asked for again in each so manieth round. */
const CHECKPOINTS_EACH = 5;
const LOG_LINES = 500;
const SAID_FOR_MS = 8_000;

/** Everything that is known. Views read it; only this module writes it. */
const model = { overview: null, jobId: null, view: 'overview', vertex: null, ...nothingOfAJob() };

function nothingOfAJob() {
    return { job: null, gone: false, checkpoints: null, failures: null, operators: null, log: new EventLog(), listening: false, series: new Series(Object.keys(SAMPLED).length) };
}

const link = new Connection(() => ask());
const jobs = new Jobs((id) => go(id, 'overview'));
const controls = new Controls(say, () => ask());
const graph = new GraphView(chooseVertex);
const vertexTable = new VertexTable(chooseVertex);
const vertexPanel = new VertexPanel(() => chooseVertex(null));
const checkpoints = new CheckpointsView((id) => get(jobPath(model.jobId, 'checkpoints', 'details', id)));
const newest = new NewestCheckpoint();
const logView = new LogView();
const stateView = new StateView((operator, state, key) => get(`${jobPath(model.jobId, 'state', operator, state)}?key=${encodeURIComponent(key)}`));
const plots = { overview: overviewPlots(byId('overview-plots')), metrics: metricsPlots(byId('metrics-plots')) };
const tabs = [...byId('tabs').children];

/** What each view shows, beside the head of the job. */
const VIEWS = {
    overview() {
        graph.show(model.job, model.vertex);
        vertexTable.show(model.job, model.vertex);
        vertexPanel.show(model.job, model.vertex);
        showEventTime(model.job);
        newest.show(model, link.now);
        showBrief(model.log);
        plots.overview.draw(model);
    },
    checkpoints: () => checkpoints.show(model),
    log: () => logView.show(model),
    failures: () => showFailures(model.failures),
    state: () => stateView.show(model.operators, model.overview?.may.state ?? false),
    metrics() {
        setAttribute(byId('all-figures'), 'href', jobPath(model.jobId, 'metrics'));
        plots.metrics.draw(model);
    },
};

// The address.

function go(job, view) {
    location.hash = job ? `#/jobs/${encodeURIComponent(job)}/${view}` : '#/';
}

function route() {
    const [, place, job, view] = location.hash.split('/');
    const id = place === 'jobs' && job ? decoded(job) : null;
    model.view = view in VIEWS ? view : 'overview';
    if (id !== model.jobId) {
        Object.assign(model, { jobId: id, vertex: null }, nothingOfAJob());
        logView.reset();
        follow();
    }
    show();
    ask();
}

/** A part of the address; as it is, if somebody has typed what is no encoding. */
function decoded(part) {
    try {
        return decodeURIComponent(part);
    } catch {
        return part;
    }
}

// Asking.

let timer = null;
let round = 0;

/** One round of questions, and the next after a while. A round that was overtaken by another says nothing. */
async function ask() {
    clearTimeout(timer);
    const own = (round += 1);
    let pause = document.hidden ? HIDDEN_EVERY_MS : EVERY_MS;
    try {
        const overview = await get('v1/overview');
        const answers = model.jobId === null ? {} : await askJob(model.jobId, overview);
        if (own !== round) {
            return;
        }
        take(overview, answers);
    } catch (error) {
        if (own !== round) {
            return;
        }
        model.series.gap(Date.now());
        pause = link.failed(error instanceof ApiError ? error.message : null);
    }
    timer = setTimeout(ask, pause);
    show();
}

/** What the open view needs to know of the job. A job that the server knows no more is no failure of the connection. */
async function askJob(id, overview) {
    if (!overview.jobs.some((job) => job.id === id)) {
        return { gone: true };
    }
    const failures = model.view === 'failures' ? get(jobPath(id, 'exceptions')) : null;
    const operators = model.view === 'state' ? get(jobPath(id, 'state')) : null;
    try {
        const [job, failed, state] = await Promise.all([get(jobPath(id)), failures, operators]);
        const isNew = model.job === null || job.newest_checkpoint !== model.job.newest_checkpoint;
        const asks = isNew || model.view === 'checkpoints' || round % CHECKPOINTS_EACH === 0;
        const known = asks ? await get(jobPath(id, 'checkpoints')) : model.checkpoints;
        return { job: withoutEndlessLags(job), checkpoints: known, failures: failed?.failures ?? model.failures, operators: state?.operators ?? model.operators };
    } catch (error) {
        if (error.code === 'no_such_job') {
            return { gone: true };
        }
        throw error;
    }
}

/** A watermark that comes as text is beyond all time, at the end of the input say, and the clock is not behind or ahead of it. */
function withoutEndlessLags(job) {
    const all = job.vertices.flatMap((vertex) => [vertex, ...vertex.subtasks]);
    all.filter((one) => typeof one.watermark === 'string').forEach((one) => { one.watermark_lag_ms = null; });
    return job;
}

function take(overview, answers) {
    link.heard(overview.now_unix_ms);
    model.overview = overview;
    if (model.jobId === null && overview.jobs.length === 1 && location.hash === '') {
        go(overview.jobs[0].id, 'overview');
        return;
    }
    const { job } = answers;
    if (job && model.job && job.started_unix_ms !== model.job.started_unix_ms) {
        Object.assign(model, nothingOfAJob());
        logView.reset();
        model.log.mark('The job was started anew: its log and figures begin again.');
        follow();
    }
    const was = model.gone;
    Object.assign(model, { gone: false }, answers);
    if (was !== model.gone) {
        follow();
    }
    if (job && job.ended_unix_ms === null) {
        model.series.push(overview.now_unix_ms, sample(job));
    } else {
        model.series.gap(overview.now_unix_ms);
    }
}

// Events.

let stopListening = () => {};

/** Listens to the events of the chosen job, and fetches those of before. */
function follow() {
    stopListening();
    stopListening = () => {};
    const id = model.jobId;
    model.listening = false;
    if (id === null || model.gone || document.hidden) {
        return;
    }
    const log = model.log;
    const fetchLog = () => get(`${jobPath(id, 'log')}?limit=${LOG_LINES}`).then(({ events }) => log === model.log && log.add(events) && show(), () => {});
    stopListening = listen(id, {
        event: (event) => log.add([event]) && showSoon(),
        dropped: (dropped) => log.mark(`${dropped} events were dropped by the server, because this page was slow to take them.`),
        connected: (isConnected) => {
            const had = model.listening;
            model.listening = isConnected;
            if (isConnected && !had) {
                fetchLog();
            }
        },
    });
}

// Showing.

let isAsked = false;

/** Shows once, however many events come before the browser draws next. */
function showSoon() {
    if (!isAsked) {
        isAsked = true;
        requestAnimationFrame(() => {
            isAsked = false;
            show();
        });
    }
}

function show() {
    link.show();
    jobs.show(model.overview?.jobs ?? [], model.jobId);
    controls.show(model);
    byId('jobs').hidden = model.jobId !== null || model.overview === null;
    byId('job').hidden = model.job === null && !model.gone;
    setAttribute(byId('job'), 'data-stale', model.gone);
    setAttribute(byId('job'), 'data-empty', model.job === null);
    document.title = model.job ? `${model.job.name} (${model.job.state}) · Millstream` : 'Millstream';
    for (const tab of tabs) {
        const isOpen = tab.dataset.view === model.view;
        setAttribute(tab, 'aria-selected', isOpen ? 'true' : 'false');
        setAttribute(tab, 'tabindex', isOpen ? 0 : -1);
        byId(`view-${tab.dataset.view}`).hidden = !isOpen || model.job === null;
    }
    if (model.job) {
        showHead(model.job, model.checkpoints, link.now);
        showNotices(model, [...model.log.restoring.values()], controls, link.now);
        VIEWS[model.view]();
    } else if (model.gone) {
        keyed(byId('notices'), [model.jobId], (id) => id, (id) => el('p', { class: 'banner', 'data-level': 'error', text: `The server knows no job “${id}”.` }));
    }
}

function chooseVertex(id) {
    const before = model.vertex;
    model.vertex = id === before ? null : id;
    show();
    if (model.vertex !== null) {
        vertexPanel.focus();
    } else if (before !== null) {
        graph.focus(before);
    }
}

/** Tells the reader what came of something. What went well goes by itself. */
function say(text, level) {
    const note = el('p', { class: 'banner', 'data-level': level }, el('span', { text }), el('button', { type: 'button', text: 'Close', onclick: () => note.remove() }));
    byId('banners').append(note);
    if (level !== 'error') {
        setTimeout(() => note.remove(), SAID_FOR_MS);
    }
}

function chooseShape(isTable) {
    byId('graph').hidden = byId('graph-tools').hidden = isTable;
    byId('vertices').hidden = !isTable;
    setAttribute(byId('as-table'), 'aria-pressed', String(isTable));
    setAttribute(byId('as-graph'), 'aria-pressed', String(!isTable));
    show();
}

// The address after `#` is that of the view, so this link moves the focus alone.
document.querySelector('.skip').addEventListener('click', (event) => {
    event.preventDefault();
    byId('main').focus();
});
byId('as-graph').addEventListener('click', () => chooseShape(false));
byId('graph').addEventListener('keydown', (event) => event.key === 'Escape' && model.vertex !== null && chooseVertex(null));
byId('as-table').addEventListener('click', () => chooseShape(true));
byId('tabs').addEventListener('click', (event) => event.target.dataset.view && go(model.jobId, event.target.dataset.view));
byId('tabs').addEventListener('focusin', (event) => event.target.dataset.view && focusAmong(tabs, event.target));
document.querySelectorAll('[data-goto]').forEach((button) => button.addEventListener('click', () => go(model.jobId, button.dataset.goto)));
// A browser has few connections to a server for all its tabs, so one that is not seen listens to no events.
document.addEventListener('visibilitychange', () => {
    follow();
    ask();
});
addEventListener('hashchange', route);
roving(byId('tabs'), () => tabs);
setInterval(() => link.show(), 1_000);
route();
