// Tests of the dashboard's page in Chromium.
//
//     node run.mjs --mock                          against the mock beside this file
//     node run.mjs --url http://127.0.0.1:8080/    against a server; its job should restart once in a while
//     node run.mjs --url ... -- COMMAND            the same, and the command that serves it is started here, killed, and started again
//
// --token TOKEN         the token of the server; without it the controls are not tried
// --job ID              the job to look at; the first one if it is not said
// --no-restart          the job of the server does not restart, so none is waited for
// --only TEXT           tries what has the text in its name
// --orders              also gives orders that change the job of the server, the last of which ends it; one writes a savepoint, for which the
//                       server needs a folder
// --key JSON            a key of the state that is looked up first, for which it has a value
// --screenshots DIR     writes pictures of the page there
// --minutes NUMBER      for how long the pages are open before, so that plots have something
//
// CHROMIUM names the browser, /usr/bin/chromium if it is not set.

import assert from 'node:assert/strict';
import { mkdir } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { chromium } from 'playwright-core';
import { mistakesOfAnswer, mistakesOfEvent } from './described.mjs';
import { startMock, TOKEN } from './mock.mjs';
import { mockSteps } from './mock-steps.mjs';
import { pictureSteps } from './pictures.mjs';
import { Server } from './server.mjs';
import { Session } from './session.mjs';
import { killSteps, lookSteps, orderSteps, steps } from './steps.mjs';

const FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];

const { values: options, positionals: command } = parseArgs({
    allowPositionals: true,
    options: {
        mock: { type: 'boolean' }, url: { type: 'string' }, token: { type: 'string' }, job: { type: 'string' }, key: { type: 'string' },
        'no-restart': { type: 'boolean' }, only: { type: 'string' }, orders: { type: 'boolean' },
        screenshots: { type: 'string' }, minutes: { type: 'string' },
    },
});
if (Boolean(options.mock) === (options.url !== undefined) || (options.orders && !options.token) || (options.mock && command.length > 0)) {
    console.error('Say either --mock or --url URL, with --orders a token, and a command only with --url.');
    process.exit(2);
}
if (options.screenshots !== undefined) {
    await mkdir(options.screenshots, { recursive: true });
}

// What the mock says must be what a server may say.
const mistakes = new Set();
const note = (all) => all.forEach((mistake) => mistakes.add(mistake));
const mock = options.mock ? await startMock(0, { answered: (...answer) => note(mistakesOfAnswer(...answer)), told: (event) => note(mistakesOfEvent(event)) }) : null;
const server = command.length > 0 ? new Server(command, options.url) : null;
await server?.start();
const url = mock?.url ?? options.url;
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: FLAGS });
const settings = { url, mock, server, token: options.token ?? (mock ? TOKEN : null), job: options.job ?? null, key: options.key ?? null, restarts: !options['no-restart'], screenshots: options.screenshots ?? null, minutes: Number(options.minutes ?? 0) };
let failed = 0;
const chosen = { ...steps, ...(options.screenshots ? pictureSteps : {}), ...(mock ? mockSteps : {}), ...(server ? killSteps : {}), ...(options.key ? lookSteps : {}), ...(options.orders ? orderSteps : {}) };
for (const [name, step] of Object.entries(chosen)) {
    if (!name.includes(options.only ?? '')) {
        continue;
    }
    const session = await Session.open(browser, settings);
    try {
        const note = await step(session);
        session.checkRequests();
        assert.deepEqual([...mistakes], [], 'the mock differs from docs/openapi.json');
        console.log(`ok    ${name}${note ? ` (${note})` : ''}`);
    } catch (error) {
        failed += 1;
        console.log(`FAILED ${name}\n${error.stack}\n`);
    } finally {
        await session.close();
        mistakes.clear();
    }
}
await browser.close();
mock?.stop();
await server?.kill();
console.log(failed === 0 ? 'OK: the page works' : `${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
