// The supervision log as it happens: filtered, paused, and bounded.

import { byId, el, keyed, setAttribute, setText } from './dom.js';
import * as format from './format.js';

const EVENTS_MAX = 2_000;
const LINES_MAX = 400;
const BRIEF = 6;
const LEVELS = { trace: 0, debug: 0, info: 1, warn: 2, error: 3 };

/** Events by their sequence number, newest last. What the server dropped has an entry of its own. */
export class EventLog {
    constructor() {
        this.entries = [];
        this.restoring = new Map();
        this.marks = 0;
        /** All that were ever added. */
        this.total = 0;
    }

    get newest() {
        return this.entries.findLast((entry) => entry.seq !== undefined)?.seq ?? 0;
    }

    /** Takes events in any order, each once. Whether there was anything new. */
    add(events) {
        const known = new Set(this.entries.map((entry) => entry.seq));
        const fresh = events.filter((event) => !known.has(event.seq)).map((event) => ({ ...event, key: `e${event.seq}` }));
        if (fresh.length === 0) {
            return false;
        }
        fresh.forEach((event) => this.follow(event));
        const inOrder = fresh[0].seq > this.newest;
        this.entries.push(...fresh);
        this.total += fresh.length;
        if (!inOrder) {
            this.entries.sort((one, other) => (one.seq ?? one.after) - (other.seq ?? other.after));
        }
        this.entries.splice(0, this.entries.length - EVENTS_MAX);
        return true;
    }

    /** An entry of the page itself, such as that events were dropped. */
    mark(text) {
        this.marks += 1;
        this.entries.push({ key: `m${this.marks}`, after: this.newest, level: 'warn', text, unix_ms: Date.now() });
    }

    /** Which subtasks are restoring state, by what was said last. */
    follow(event) {
        if (event.event === 'restoring') {
            this.restoring.set(event.actor, event);
        } else if (['restored', 'region_running', 'region_restarting', 'ended'].includes(event.event)) {
            for (const [actor, one] of this.restoring) {
                if (event.region === undefined || one.region === event.region) {
                    this.restoring.delete(actor);
                }
            }
        }
    }
}

export class LogView {
    constructor() {
        [this.level, this.where, this.text] = ['log-level', 'log-where', 'log-text'].map(byId);
        this.scroll = byId('log-scroll');
        this.lines = byId('log-lines');
        this.pauseButton = byId('log-pause');
        /** What is shown while paused; `null` while not. */
        this.held = null;
        this.follows = true;
        byId('log-filter').addEventListener('submit', (event) => event.preventDefault());
        byId('log-filter').addEventListener('input', () => this.show(this.model));
        this.pauseButton.addEventListener('click', () => this.pause(this.held === null));
        this.scroll.addEventListener('scroll', () => {
            this.follows = this.scroll.scrollTop + this.scroll.clientHeight >= this.scroll.scrollHeight - 24;
        });
    }

    pause(isPaused) {
        const { entries, total } = this.model.log;
        this.held = isPaused ? { entries: [...entries], total } : null;
        this.tellPause();
        this.show(this.model);
    }

    /** For another job, or another life of this one. */
    reset() {
        this.held = null;
        this.tellPause();
    }

    tellPause() {
        const isPaused = this.held !== null;
        setAttribute(this.pauseButton, 'aria-pressed', isPaused ? 'true' : 'false');
        setText(this.pauseButton, isPaused ? 'Resume' : 'Pause');
    }

    show(model) {
        this.model = model;
        this.offer(model.job);
        const all = this.held?.entries ?? model.log.entries;
        const found = all.filter((entry) => this.passes(entry));
        keyed(this.lines, found.slice(-LINES_MAX), (entry) => entry.key, line);
        const shown = found.length > LINES_MAX ? `the newest ${format.exact(LINES_MAX)} of ${format.exact(found.length)}` : format.exact(found.length);
        const since = this.held === null ? '' : ` Paused; ${format.exact(model.log.total - this.held.total)} more since.`;
        setText(byId('log-foot'), `Shown: ${shown} of ${format.plural(all.length, 'event')} that the page has.${since}`);
        const notice = byId('log-notice');
        notice.hidden = model.listening || model.job.ended_unix_ms !== null;
        setText(notice, notice.hidden ? '' : 'Not connected to the events of the job. The browser tries again by itself; events of the meantime follow as far as the server has kept them.');
        if (this.follows && this.held === null) {
            this.scroll.scrollTop = this.scroll.scrollHeight;
        }
    }

    /** The regions and vertices that can be filtered for. */
    offer(job) {
        const places = [
            { key: '', name: 'everywhere' },
            ...job.regions.map((region) => ({ key: `region=${region.region}`, name: `region ${region.region}` })),
            ...job.vertices.map((vertex) => ({ key: `vertex=${vertex.name}`, name: vertex.name })),
        ];
        keyed(this.where, places, (place) => place.key, (place) => el('option', { value: place.key }), (option, place) => setText(option, place.name));
    }

    passes(entry) {
        const text = entry.text ?? '';
        const wanted = this.text.value.trim().toLowerCase();
        return (LEVELS[entry.level] ?? 1) >= Number(this.level.value) && (wanted === '' || text.toLowerCase().includes(wanted)) && this.isThere(entry, text);
    }

    isThere(entry, text) {
        const [kind, name] = [this.where.value.slice(0, this.where.value.indexOf('=')), this.where.value.slice(this.where.value.indexOf('=') + 1)];
        if (kind === 'region') {
            const region = this.model.job.regions.find((one) => String(one.region) === name);
            const vertices = this.model.job.vertices.filter((vertex) => vertex.region === region?.region);
            return String(entry.region) === name || vertices.some((vertex) => mentions(entry, vertex, text));
        }
        const vertex = kind === 'vertex' && this.model.job.vertices.find((one) => one.name === name);
        return !vertex || mentions(entry, vertex, text);
    }
}

function mentions(entry, vertex, text) {
    const names = [vertex.name, ...vertex.operators];
    return names.some((name) => entry.operator === name || entry.actor?.includes(name) || text.includes(`'${name}'`) || text.includes(`${name}[`));
}

function line(entry) {
    const level = entry.level ?? 'info';
    return el('li', { 'data-level': level }, el('time', { text: format.clock(entry.unix_ms), title: format.moment(entry.unix_ms) }),
        el('span', { class: 'level', text: level }), el('span', { class: 'text', text: entry.text }));
}

/** The newest lines that are worth a glance. */
export function showBrief(log) {
    const worth = log.entries.filter((entry) => (LEVELS[entry.level] ?? 1) > 0).slice(-BRIEF).reverse();
    keyed(byId('latest-events'), worth, (entry) => entry.key, line);
}
