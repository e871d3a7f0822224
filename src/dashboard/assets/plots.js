// Plots over time, drawn by uPlot (a classic script, which defines `uPlot`).

import { el, setAttribute, setText } from './dom.js';
import * as format from './format.js';

/* global uPlot */

const HEIGHT = 132;
/** Steps of an axis that counts bytes. */
const POWERS_OF_TWO = Array.from({ length: 50 }, (_, exponent) => 2 ** exponent);

/** `5k/s` for `5.00k/s`. */
const rough = (text) => text.replace(/[.,]0{1,2}(?=\D|$)/, '');

/** A minute, where there is not more than one moment to show. */
function span(first, last) {
    const end = last ?? Date.now() / 1_000;
    return first === null || first === last ? [end - 60, end + 1] : [first, last];
}

/** One plot: a title, a legend that shows the newest figures or those under the pointer, and the drawing. */
export class Plot {
    /** `lines` are `{ name, color }` with a colour 1 to 4; `write` writes a value; `top` fixes the upper end of the axis. */
    constructor(parent, { title, lines, write, top = null, points = false }) {
        Object.assign(this, { title, lines, write, top, points, data: null, chart: null });
        this.values = lines.map(() => el('b', { text: '–' }));
        this.markers = lines.map((line) => el('span', { class: `marker c${line.color}` }));
        const legend = lines.map((line, at) => el('li', {}, this.markers[at], `${line.name} `, this.values[at]));
        this.drawing = el('div', { class: 'drawing', role: 'img', 'aria-label': title });
        this.nothing = el('p', { class: 'empty', hidden: true });
        parent.append(el('figure', { class: 'card plot' },
            el('figcaption', {}, el('h3', { text: title }), el('ul', { class: 'legend' }, ...legend)), this.drawing, this.nothing));
        new ResizeObserver(() => this.resize()).observe(this.drawing);
        document.addEventListener('themechange', () => this.rebuild());
    }

    /** Draws `data`: seconds, then a column for each line. If there is nothing to draw, `why` says why. */
    draw(data, why) {
        this.data = data;
        this.drawing.hidden = why !== null;
        this.nothing.hidden = why === null;
        setText(this.nothing, why ?? '');
        if (this.drawing.clientWidth === 0) {
            return;
        }
        if (this.chart === null) {
            this.chart = new uPlot(this.options(), data, this.drawing);
        } else {
            this.chart.setData(data);
        }
        this.tell(null);
    }

    resize() {
        const width = this.drawing.clientWidth;
        if (width > 0 && this.chart !== null && this.chart.width !== width) {
            this.chart.setSize({ width, height: HEIGHT });
        } else if (width > 0 && this.chart === null && this.data !== null) {
            this.draw(this.data, null);
        }
    }

    /** Colours are those of the style sheet at the time of drawing. */
    rebuild() {
        this.chart?.destroy();
        this.chart = null;
        if (this.data !== null && !this.drawing.hidden) {
            this.draw(this.data, null);
        }
    }

    /** Writes the figures at `index`, or the newest. */
    tell(index) {
        const at = index ?? this.data[0].length - 1;
        const said = this.lines.map((line, nth) => {
            const value = this.write(this.data[nth + 1][at] ?? null);
            setText(this.values[nth], value);
            return `${line.name} ${value}`;
        });
        if (index === null) {
            setAttribute(this.drawing, 'aria-label', `${this.title}. Newest: ${said.join(', ')}`);
        }
    }

    options() {
        const ink = getComputedStyle(this.drawing);
        const axis = { stroke: ink.color, font: `11px ${ink.fontFamily}`, ticks: { show: false }, grid: { stroke: ink.borderTopColor, width: 1 } };
        const series = this.lines.map((line, at) => ({
            stroke: getComputedStyle(this.markers[at]).color,
            width: 1.75,
            dash: line.color % 2 === 0 ? [5, 4] : undefined,
            points: { show: this.points, size: 5 },
        }));
        return {
            width: this.drawing.clientWidth,
            height: HEIGHT,
            legend: { show: false },
            cursor: { y: false, drag: { x: false, y: false } },
            scales: { x: { time: true, range: (_, first, last) => span(first, last) }, y: { range: (_, low, high) => [Math.min(0, low ?? 0), this.top ?? ((high ?? 0) * 1.1 || 1)] } },
            axes: [
                { ...axis, size: 26, space: 84, values: (_, ticks) => ticks.map((seconds) => format.clock(seconds * 1_000)) },
                { ...axis, size: 62, space: 30, incrs: this.write === format.bytes ? POWERS_OF_TWO : undefined, values: (_, ticks) => ticks.map((value) => rough(this.write(value))) },
            ],
            series: [{}, ...series],
            hooks: { setCursor: [(chart) => this.tell(chart.cursor.idx ?? null)] },
        };
    }
}
