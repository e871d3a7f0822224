// Whether the figures are those of now. They are never shown as if they were when they are not.

import { byId, el, setAttribute, setText } from './dom.js';
import { pauseAfter } from './api.js';
import * as format from './format.js';

const LATE_AFTER_MS = 6_000;

export class Connection {
    /** `again` asks the server at once. */
    constructor(again) {
        this.failures = 0;
        this.refusal = null;
        this.heardAt = null;
        this.nextTry = null;
        this.offset = 0;
        this.again = el('button', { type: 'button', text: 'Try now', onclick: again });
        this.words = el('span');
        this.banner = el('p', { class: 'banner', 'data-level': 'error', hidden: true }, this.words, this.again);
        byId('banners').append(this.banner);
        addEventListener('online', again);
    }

    /** The server has answered, and its clock says `unixMs`. */
    heard(unixMs) {
        this.failures = 0;
        this.heardAt = Date.now();
        this.nextTry = null;
        this.offset = unixMs - this.heardAt;
        this.show();
    }

    /** It has not, or only with a refusal. Returns how long to wait before the next try. */
    failed(refusal) {
        this.failures += 1;
        this.refusal = refusal;
        const pause = pauseAfter(this.failures);
        this.nextTry = Date.now() + pause;
        this.show();
        return pause;
    }

    /** Unix milliseconds by the clock of the server; without connection, of the moment that is shown. */
    get now() {
        return (this.isStale ? this.heardAt ?? Date.now() : Date.now()) + this.offset;
    }

    get isStale() {
        return this.failures > 0 || (this.heardAt !== null && Date.now() - this.heardAt > LATE_AFTER_MS);
    }

    /** Called each second, and whenever something has changed. */
    show() {
        const stale = this.isStale;
        const chip = byId('connection');
        const state = stale ? 'lost' : this.heardAt === null ? 'connecting' : 'live';
        setAttribute(chip, 'data-state', state);
        setAttribute(document.documentElement, 'data-link', state);
        setText(byId('connection-text'), { lost: this.lost(), connecting: 'Connecting', live: 'Live' }[state]);
        this.banner.hidden = !stale;
        if (stale) {
            const what = this.refusal === null ? 'No connection to the server.' : `The server refuses to answer: ${this.refusal}.`;
            const figures = this.heardAt === null ? '' : ` The figures are those of ${format.clock(this.heardAt)}.`;
            setText(this.words, `${what}${figures} The page goes on trying.`);
        }
    }

    lost() {
        const age = this.heardAt === null ? '' : `, ${format.age(Date.now() - this.heardAt)} old`;
        const wait = this.nextTry === null ? 0 : Math.ceil((this.nextTry - Date.now()) / 1_000);
        return `Offline${age}${wait > 0 ? ` · retry in ${format.exact(wait)}\u00a0s` : ' · retrying'}`;
    }
}
