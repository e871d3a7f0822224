// Which plots there are, and what they are drawn from.

import * as format from './format.js';
import { Plot } from './plots.js';
import { SAMPLED } from './series.js';

const records = {
    title: 'Records', write: format.rate, from: sampled(SAMPLED.read, SAMPLED.written),
    lines: [{ name: 'read', color: 1 }, { name: 'written', color: 2 }],
};
const lag = {
    title: 'Watermark lag', write: format.duration, from: sampled(SAMPLED.lag), lines: [{ name: 'largest', color: 1 }],
    why: 'No vertex has a watermark.', isSilent: ({ job }) => job.vertices.every((vertex) => vertex.watermark === null),
};
const load = {
    title: 'Load of the busiest', write: format.share, top: 1, from: sampled(SAMPLED.busy, SAMPLED.backpressured),
    lines: [{ name: 'busy', color: 3 }, { name: 'back-pressured', color: 4 }],
};
const state = {
    title: 'State', write: format.bytes, from: sampled(SAMPLED.state), lines: [{ name: 'all operators', color: 1 }],
    why: 'No checkpoint has state.', isSilent: ({ job }) => job.vertices.every((vertex) => vertex.state_bytes === null),
};
const noneCompleted = { why: 'No checkpoint is completed.', isSilent: ({ checkpoints: known }) => known !== null && known.latest.completed === null };
const took = { title: 'Checkpoint duration', write: format.duration, points: true, from: checkpoints('duration_ms'), ...noneCompleted, lines: [{ name: 'completed', color: 1 }] };
const written = { title: 'Checkpoint size', write: format.bytes, points: true, from: checkpoints('written_bytes'), ...noneCompleted, lines: [{ name: 'written', color: 1 }] };

export const overviewPlots = (root) => new Plots(root, [records, took, lag]);
export const metricsPlots = (root) => new Plots(root, [records, load, lag, took, written, state]);

class Plots {
    constructor(root, all) {
        this.all = all.map((one) => ({ ...one, plot: new Plot(root, one) }));
    }

    draw(model) {
        for (const { from, plot, why, isSilent } of this.all) {
            const data = from(model);
            const hasSome = data.slice(1).some((column) => column.some((value) => value !== null && value !== undefined));
            plot.draw(data, !hasSome && isSilent?.(model) ? why : null);
        }
    }
}

/** The columns that the page has sampled itself. */
function sampled(...columns) {
    return (model) => model.series.pick(...columns);
}

/** A figure of the completed checkpoints that the server remembers, oldest first. */
function checkpoints(figure) {
    return ({ checkpoints: known }) => {
        const completed = (known?.history ?? []).filter((one) => one.status === 'completed').reverse();
        return [completed.map((one) => one.triggered_unix_ms / 1_000), completed.map((one) => one[figure])];
    };
}
