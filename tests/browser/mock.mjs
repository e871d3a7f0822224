// A server that speaks the dashboard's API about jobs that do not exist, for what an engine cannot be asked for on demand: a
// failure now, a lost connection, sixty vertices, no job at all. `node tests/browser/mock.mjs [port]` serves it to look at.
//
// POST mock/fail, mock/restore, mock/checkpoint, mock/park, mock/end, mock/hang?ms=, mock/none, mock/some and mock/anew make things happen.

import { createServer } from 'node:http';
import { readFile } from 'node:fs/promises';
import { extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { jobs as allJobs } from './mock-jobs.mjs';

const ASSETS = fileURLToPath(new URL('../../src/dashboard/assets/', import.meta.url));
const TYPES = { '.html': 'text/html; charset=utf-8', '.css': 'text/css; charset=utf-8', '.js': 'text/javascript; charset=utf-8', '.svg': 'image/svg+xml' };
const CSP = "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

export const TOKEN = 'correct-horse';

/**
 * Starts the mock on loopback. `url` is where the page is; `fail()` and the others make things happen. `answered` and `told` hear each
 * answer in JSON and each event.
 */
export async function startMock(port = 0, { answered = () => {}, told = () => {} } = {}) {
    let jobs = allJobs();
    let hangsUntil = 0;
    const clock = setInterval(() => jobs.forEach((job) => job.step()), 1_000);
    const streams = new Set();
    const find = (id) => jobs.find((job) => job.id === id);
    const orders = {
        fail: () => jobs[0].fail(),
        restore: () => jobs[0].restoreSlowly(),
        checkpoint: () => jobs[0].checkpointSlowly(),
        park: () => jobs[0].park(),
        end: () => jobs[0].end('finished'),
        none: () => { jobs = []; },
        some: () => { jobs = allJobs(); },
        anew: () => { jobs = allJobs(); streams.forEach((stream) => stream.destroy()); },
        hang: (query) => {
            hangsUntil = Date.now() + Number(query.get('ms') ?? 10_000);
            streams.forEach((stream) => stream.destroy());
        },
    };

    const server = createServer(async (request, response) => {
        const url = new URL(request.url, 'http://mock');
        const path = url.pathname.slice(1).split('/').map(decodeURIComponent);
        if (path[0] === 'mock' && request.method === 'POST') {
            orders[path[1]](url.searchParams);
            response.writeHead(204).end();
        } else if (Date.now() < hangsUntil) {
            request.socket.destroy();
        } else if (path[0] === 'v1') {
            const send = (status, value) => {
                answered(request.method, url.pathname, status, JSON.parse(JSON.stringify(value)));
                response.writeHead(status, { 'Content-Type': 'application/json', 'Cache-Control': 'no-store' }).end(JSON.stringify(value));
            };
            await answerApi(request, response, send, path.slice(1), url.searchParams, { jobs, find, streams, told });
        } else {
            await answerAsset(response, url.pathname);
        }
    });
    await new Promise((resolve) => server.listen(port, '127.0.0.1', resolve));
    const stop = () => {
        clearInterval(clock);
        streams.forEach((stream) => stream.destroy());
        server.close();
        server.closeAllConnections();
    };
    return { url: `http://127.0.0.1:${server.address().port}/`, stop, ...orders, hang: (ms) => orders.hang(new URLSearchParams({ ms })) };
}

async function answerAsset(response, path) {
    const name = normalize(path === '/' ? '/index.html' : path).slice(1);
    try {
        const bytes = await readFile(join(ASSETS, name));
        const type = TYPES[extname(name)] ?? 'application/octet-stream';
        response.writeHead(200, { 'Content-Type': type, 'Content-Security-Policy': CSP, 'X-Content-Type-Options': 'nosniff', 'Referrer-Policy': 'no-referrer' }).end(bytes);
    } catch {
        response.writeHead(404).end();
    }
}

async function answerApi(request, response, send, [place, id, part, ...rest], query, { jobs, find, streams, told }) {
    const refuse = (status, code, message) => send(status, { error: { code, message } });
    if (place === 'overview') {
        return send(200, { millstream: '0.1.0', api: 1, now_unix_ms: Date.now(), may: { control: true, savepoint: true, state: true, records: false }, jobs: jobs.map((job) => job.summary()) });
    }
    if (place !== 'jobs') {
        return refuse(404, 'no_such_address', 'there is nothing at this address');
    }
    const job = find(id);
    if (!job) {
        return refuse(404, 'no_such_job', 'there is no such job, or it is not shown any more');
    }
    if (request.method === 'POST') {
        const { authorization } = request.headers;
        if (authorization !== `Bearer ${TOKEN}`) {
            return authorization === undefined ? refuse(401, 'no_token', 'needs `Authorization: Bearer <token>`') : refuse(401, 'wrong_token', 'that is not the token');
        }
        return send(...job.order(part, JSON.parse(await text(request)), rest));
    }
    const [first, second] = rest;
    switch (part) {
        case undefined:
            return send(200, job.detail());
        case 'checkpoints': {
            const answer = first === 'details' ? job.checkpointDetails(Number(second)) : job.checkpointStats();
            return answer ? send(200, answer) : refuse(404, 'no_such_checkpoint', 'it is none of the newest of this run');
        }
        case 'exceptions':
            return send(200, { failures: job.failures });
        case 'log':
            return send(200, { events: job.events.slice(-Number(query.get('limit') ?? 256)) });
        case 'events':
            return stream(request, response, job, streams, told);
        case 'metrics':
            return send(200, { job: job.name, unix_ms: Date.now(), status: {}, subtasks: [] });
        case 'state':
            return send(200, first === undefined ? { operators: job.stateSizes() } : job.look(query.get('key')));
        default:
            return refuse(404, 'no_such_address', 'there is nothing at this address');
    }
}

function stream(request, response, job, streams, told) {
    response.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' });
    const send = (event) => {
        told(event);
        response.write(`id: ${event.seq}\nevent: supervision\ndata: ${JSON.stringify(event)}\n\n`);
    };
    const since = request.headers['last-event-id'];
    response.write(': hello\n\n');
    if (since !== undefined) {
        job.events.filter((event) => event.seq > Number(since)).forEach(send);
    }
    job.listeners.add(send);
    streams.add(response);
    request.on('close', () => {
        job.listeners.delete(send);
        streams.delete(response);
    });
}

async function text(request) {
    let all = '';
    for await (const chunk of request) {
        all += chunk;
    }
    return all;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
    const mock = await startMock(Number(process.argv[2] ?? 8_080));
    console.log(`${mock.url} with token ${TOKEN}`);
}
