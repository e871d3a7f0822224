// Orders to the job. They appear once a token was entered, which is kept for this tab of the browser and never in the address.

import { byId, el, keyed, setAttribute, setText } from './dom.js';
import { jobPath, post } from './api.js';

const KEPT = 'millstream-token';

/** What can be ordered. `offered` says whether it fits the job and what the host allows; `question` is put before it is done. */
const ORDERS = [
    { name: 'Checkpoint', path: 'checkpoints', done: (answer) => (answer?.checkpoint ? `Checkpoint #${answer.checkpoint} was taken.` : 'A checkpoint was ordered.'), offered: () => true },
    {
        name: 'Savepoint', path: 'savepoints', done: (answer) => (answer?.path ? `The savepoint was written to ${answer.path}.` : 'A savepoint was ordered.'),
        offered: (_, may) => may.savepoint !== false,
        question: { text: 'A savepoint is taken while the job runs on, and is yours: the engine never deletes it.', name: 'Name, within the folder that the host keeps savepoints in', field: 'path' },
    },
    {
        name: 'Rescale', path: 'rescale', done: (answer) => (answer?.to ? `The job runs at parallelism ${answer.to}.` : 'The job will go on at another parallelism.'), offered: () => true,
        question: (job) => ({
            text: `It runs at parallelism ${job.parallelism}. A checkpoint is taken, and all its regions stop and start again from it with as many subtasks as are said here; operators that set their own number keep it.`,
            name: 'Parallelism', field: 'parallelism', number: { value: job.parallelism, min: 1, max: Math.max(...job.vertices.map((vertex) => vertex.max_parallelism)) },
        }),
    },
    { name: 'Pause', path: 'pause', done: () => 'The job pauses.', offered: (job) => job.paused_since_unix_ms === null },
    { name: 'Resume', path: 'resume', done: () => 'The job reads on.', offered: (job) => job.paused_since_unix_ms !== null },
    {
        name: 'Drain', path: 'drain', done: () => 'The job drains, and ends with a last checkpoint.', offered: () => true, grave: true,
        question: { text: 'Its sources stop reading, what was read is processed to its end, and the job ends with a last checkpoint.' },
    },
    {
        name: 'Cancel', path: 'cancel', done: () => 'The job is cancelled.', offered: () => true, grave: true,
        question: { text: 'The job ends at once. What was processed since its newest checkpoint is processed again by the next start on its store.' },
    },
];

const resumption = (region) => ({ name: `Resume region ${region}`, path: `regions/${region}/resume`, done: () => `Region ${region} starts again.` });

export class Controls {
    /** `say(text, level)` tells the reader; `changed` is called after an order. */
    constructor(say, changed) {
        Object.assign(this, { say, changed, model: null });
        try {
            this.token = sessionStorage.getItem(KEPT);
        } catch {
            this.token = null;
        }
        byId('unlock').addEventListener('click', () => (this.token === null ? this.unlock() : this.lock()));
        byId('ask-no').addEventListener('click', () => byId('ask').close());
    }

    show(model) {
        this.model = model;
        const may = model.overview?.may.control ?? false;
        byId('unlock').hidden = !may;
        setText(byId('unlock'), this.token === null ? 'Unlock' : 'Lock');
        setAttribute(byId('unlock'), 'aria-label', this.token === null ? 'Unlock the controls' : 'Lock the controls');
        const job = model.job;
        const usable = this.usable;
        byId('controls').hidden = !usable;
        const offered = usable ? ORDERS.filter((order) => order.offered(job, model.overview.may)) : [];
        keyed(byId('controls'), offered, (order) => order.name, (order) => el('button', { type: 'button', class: order.grave ? 'grave' : null, text: order.name, onclick: () => this.order(order) }));
    }

    /** Whether orders can be given. */
    get usable() {
        const { job, gone, overview } = this.model;
        return (overview?.may.control ?? false) && this.token !== null && job !== null && job.ended_unix_ms === null && !gone;
    }

    /** Has a region that is parked start again. */
    resume(region) {
        return this.order(resumption(region));
    }

    async unlock() {
        const token = await question({ title: 'Unlock the controls', text: 'The token that the host of this page was given. It is kept until this tab is closed.', name: 'Token', type: 'password', yes: 'Unlock' });
        if (token) {
            this.keep(token);
        }
    }

    lock() {
        this.keep(null);
    }

    keep(token) {
        this.token = token;
        try {
            if (token === null) {
                sessionStorage.removeItem(KEPT);
            } else {
                sessionStorage.setItem(KEPT, token);
            }
        } catch {
            // It is kept in this object all the same.
        }
        this.show(this.model);
    }

    async order(order) {
        const job = this.model.jobId;
        const body = {};
        if (order.question) {
            const asked = typeof order.question === 'function' ? order.question(this.model.job) : order.question;
            const answer = await question({ title: `${order.name} ${this.model.job.name}?`, ...asked, yes: order.name, grave: order.grave });
            if (answer === null) {
                return;
            }
            if (asked.field) {
                body[asked.field] = asked.number ? Number(answer) : answer;
            }
        }
        try {
            this.say(order.done(await post(jobPath(job, ...order.path.split('/')), body, this.token)), 'done');
        } catch (error) {
            if (error.status === 401) {
                this.keep(null);
            }
            this.say(error.status === 401 ? 'The token was refused. Nothing was done.' : `${order.name}: ${error.message}`, 'error');
        }
        this.changed();
    }
}

/** Asks in a dialog: what was typed, `''` for a plain yes, `null` for no. Escape is a no. */
function question({ title, text, name = null, type = 'text', number = null, yes, grave = false }) {
    const [dialog, form, value, button] = ['ask', 'ask-form', 'ask-value', 'ask-yes'].map(byId);
    setText(byId('ask-title'), title);
    setText(byId('ask-text'), text);
    setText(byId('ask-name'), name ?? '');
    setText(button, yes);
    button.className = grave ? 'grave' : 'main';
    byId('ask-label').hidden = name === null;
    Object.assign(value, { type: number ? 'number' : type, required: name !== null, value: number?.value ?? '' });
    ['min', 'max'].forEach((bound) => setAttribute(value, bound, number?.[bound] ?? null));
    return new Promise((resolve) => {
        let answer = null;
        form.onsubmit = () => {
            answer = name === null ? '' : value.value.trim();
        };
        dialog.onclose = () => {
            value.value = '';
            resolve(answer);
        };
        dialog.showModal();
        (name === null ? byId('ask-no') : value).focus();
    });
}
