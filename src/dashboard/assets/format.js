// How figures are written: digits as the reader's language groups them, units as the log of the engine has them.

const NONE = '–';
const digits = (options) => new Intl.NumberFormat(undefined, options);

const whole = digits({ maximumFractionDigits: 0 });
const short = digits({ maximumSignificantDigits: 3 });
const three = digits({ minimumSignificantDigits: 3, maximumSignificantDigits: 3 });
const tenths = digits({ minimumFractionDigits: 1, maximumFractionDigits: 1 });
const percent = digits({ style: 'percent', maximumFractionDigits: 0 });
const timeOfDay = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' });
const dayAndTime = new Intl.DateTimeFormat(undefined, {
    year: 'numeric', month: 'short', day: 'numeric', hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23',
});

/** `write` for a number; a dash for what is not known. Whole numbers beyond 2^53 come as text and stay as they are. */
const known = (write) => (value) => {
    if (value === null || value === undefined) {
        return NONE;
    }
    return typeof value === 'number' ? write(value) : String(value);
};

function scaled(value, base, units) {
    let at = 0;
    while (Math.abs(value) >= base * 0.9995 && at < units.length - 1) {
        value /= base;
        at += 1;
    }
    // As many digits whatever the value, so that a figure that moves does not change its width.
    return [at > 0 ? three.format(value) : Number.isInteger(value) ? whole.format(value) : short.format(value), units[at]];
}

/** Every digit. */
export const exact = known((value) => whole.format(value));

/** Up to four digits, then `12.3k`. */
export const count = known((value) => (Math.abs(value) < 10_000 ? whole.format(value) : scaled(value, 1_000, ['', 'k', 'M', 'G', 'T']).join('')));

export const rate = known((value) => `${scaled(value, 1_000, ['', 'k', 'M', 'G', 'T']).join('')}/s`);

export const bytes = known((value) => scaled(value, 1_024, ['B', 'KiB', 'MiB', 'GiB', 'TiB']).join('\u00a0'));

export const share = known((value) => percent.format(value));

/** A length of time in milliseconds. */
export const duration = known((ms) => {
    const size = Math.abs(ms);
    if (size === 0) {
        return '0\u00a0ms';
    }
    if (size < 0.1) {
        return `${whole.format(ms * 1_000)}\u00a0µs`;
    }
    if (size < 10) {
        return `${tenths.format(ms)}\u00a0ms`;
    }
    if (size < 1_000) {
        return `${whole.format(ms)}\u00a0ms`;
    }
    if (size < 60_000) {
        return `${tenths.format(ms / 1_000)}\u00a0s`;
    }
    const seconds = Math.round(ms / 1_000);
    const [minutes, hours, days] = [Math.floor(seconds / 60), Math.floor(seconds / 3_600), Math.floor(seconds / 86_400)];
    if (hours < 1) {
        return two(minutes, 'min', seconds % 60, 's');
    }
    return days < 1 ? two(hours, 'h', minutes % 60, 'min') : two(days, 'd', hours % 24, 'h');
});

function two(large, largeUnit, little, littleUnit) {
    const head = `${whole.format(large)}\u00a0${largeUnit}`;
    return little === 0 ? head : `${head} ${little}\u00a0${littleUnit}`;
}

/** A length of time of which the reader wants no fractions, such as an age. */
export const age = known((ms) => {
    const seconds = Math.max(0, Math.round(ms / 1_000));
    return seconds < 60 ? `${whole.format(seconds)}\u00a0s` : duration(seconds * 1_000);
});

/** The time of day. */
export const clock = known((unixMs) => timeOfDay.format(unixMs));

/** Day and time. */
export const moment = known((unixMs) => dayAndTime.format(unixMs));

/** A watermark: a moment where it looks like one, without the day if that is near, else the number. Event time need not be Unix time. */
export const watermark = (value) => (typeof value === 'string' ? beyondTime(value) : moments(value));

/** What exceeds 2^53 is no time: event time has ended, or not begun. */
const beyondTime = (value) => (value.startsWith('-') ? 'before all' : 'end of input');

const moments = known((value) => {
    if (value > 315_532_800_000 && value < 7_258_118_400_000) {
        return Math.abs(Date.now() - value) < 43_200_000 ? timeOfDay.format(value) : dayAndTime.format(value);
    }
    return whole.format(value);
});

export const plural = (number, one, many = `${one}s`) => `${exact(number)}\u00a0${number === 1 ? one : many}`;
