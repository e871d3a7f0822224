// Figures over time, kept in the page: the server keeps none.

const SAMPLES_MAX = 900;
/** Samples further apart are not joined. */
const GAP_AFTER_S = 15;

/** Columns of numbers over a column of seconds; the oldest sample goes when there are more than 900. */
export class Series {
    constructor(width) {
        this.columns = Array.from({ length: width + 1 }, () => []);
    }

    push(unixMs, values) {
        const last = this.columns[0].at(-1);
        if (last !== undefined && unixMs / 1_000 - last > GAP_AFTER_S) {
            this.gap(last * 1_000 + 1);
        }
        [unixMs / 1_000, ...values].forEach((value, at) => this.columns[at].push(value));
        if (this.columns[0].length > SAMPLES_MAX) {
            this.columns.forEach((column) => column.shift());
        }
    }

    /** What follows is not joined to what is there. */
    gap(unixMs) {
        const [times, ...values] = this.columns;
        if (times.length > 0 && values.some((column) => column.at(-1) !== null)) {
            this.push(unixMs, values.map(() => null));
        }
    }

    /** The time column and those chosen. */
    pick(...chosen) {
        return [this.columns[0], ...chosen.map((at) => this.columns[at + 1])];
    }
}

export const SAMPLED = { read: 0, written: 1, busy: 2, backpressured: 3, lag: 4, state: 5 };

/** A job's figures at a moment, in the order of `SAMPLED`. */
export function sample(job) {
    const of = (kind) => job.vertices.filter((vertex) => vertex.kind === kind);
    return [
        readBy(job, 'per_second'),
        sum(of('sink'), 'records_in_per_second'),
        most(job.vertices, 'busy')?.busy ?? null,
        most(job.vertices, 'backpressured')?.backpressured ?? null,
        most(job.vertices, 'watermark_lag_ms')?.watermark_lag_ms ?? null,
        sum(job.vertices, 'state_bytes'),
    ];
}

/** What all sources have read, in all or `per_second`; where they do not say, what they have sent. */
export function readBy(job, figure = null) {
    const sources = job.vertices.filter((vertex) => vertex.kind === 'source');
    const named = (name) => (figure === null ? name : `${name}_${figure}`);
    return sum(sources, named('records_in')) || sum(sources, named('records_out'));
}

/** The sum of a figure over those of which it is known; `null` if it is known of none. */
export function sum(items, figure) {
    const known = items.map((item) => item[figure]).filter((value) => typeof value === 'number');
    return known.length === 0 ? null : known.reduce((total, value) => total + value, 0);
}

/** The item with the largest known figure. */
export function most(items, figure) {
    const known = items.filter((item) => typeof item[figure] === 'number');
    return known.reduce((best, item) => (best === null || item[figure] > best[figure] ? item : best), null);
}
