// Speaks to the server: every address is relative to the page, so it works wherever the host has mounted it.

/** An answer other than success: `status` is the HTTP status, `code` is for programs, `message` is for people. */
export class ApiError extends Error {
    constructor(status, code, message) {
        super(message);
        this.status = status;
        this.code = code;
    }
}

const ANSWER_WITHIN_MS = 10_000;

export const jobPath = (job, ...rest) => ['v1', 'jobs', job, ...rest].map(encodeURIComponent).join('/');

/** What `path` has to say, as JSON. Throws an `ApiError`, or what `fetch` throws without a connection. */
export const get = (path) => ask(path, {});

/** Orders something. The token goes into a header and nowhere else. */
export function post(path, body, token) {
    const headers = { 'Content-Type': 'application/json', Authorization: `Bearer ${token}` };
    return ask(path, { method: 'POST', headers, body: JSON.stringify(body) });
}

async function ask(path, options) {
    const signal = AbortSignal.timeout(ANSWER_WITHIN_MS);
    const response = await fetch(path, { ...options, signal, cache: 'no-store', credentials: 'same-origin' });
    const text = await response.text();
    const answer = parsed(text);
    if (!response.ok) {
        const error = answer?.error ?? {};
        throw new ApiError(response.status, error.code ?? 'unknown', error.message ?? `The server answered ${response.status}.`);
    }
    return answer;
}

function parsed(text) {
    try {
        return JSON.parse(text);
    } catch {
        return null;
    }
}

/**
 * Listens to the supervision events of a job until the returned function is called. The browser connects again by itself and
 * says which event it had last; where it gives up, this begins anew, after growing pauses.
 */
export function listen(job, { event, dropped, connected }) {
    let source = null;
    let timer = null;
    let failures = 0;
    const open = () => {
        source = new EventSource(jobPath(job, 'events'));
        source.addEventListener('open', () => {
            failures = 0;
            connected(true);
        });
        source.addEventListener('supervision', (message) => event(JSON.parse(message.data)));
        source.addEventListener('dropped', (message) => dropped(JSON.parse(message.data).dropped));
        source.addEventListener('error', () => {
            connected(false);
            if (source.readyState === EventSource.CLOSED) {
                timer = setTimeout(open, pauseAfter((failures += 1)));
            }
        });
    };
    open();
    return () => {
        clearTimeout(timer);
        source.close();
    };
}

/** How long to wait after so many failures in a row: a second, then twice as long each time, at most half a minute. */
export function pauseAfter(failures) {
    const pause = Math.min(30_000, 1_000 * 2 ** (failures - 1));
    return pause * (0.75 + Math.random() / 2);
}
