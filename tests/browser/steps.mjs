// What is tried, each on a page of its own.

import assert from 'node:assert/strict';

export const VIEWS = ['overview', 'checkpoints', 'log', 'failures', 'state', 'metrics'];
/** What is opened in a view before it is checked. */
const OPENED = {
    overview: (page) => page.locator('.vertex').last().click(),
    checkpoints: (page) => page.locator('#checkpoint-history tbody button').last().click(),
};
const RESTART_WITHIN_MS = 120_000;
const ORDER_TRIES = 10;

export const steps = {
    async 'the page loads, with a strict policy'(session) {
        const response = await session.page.goto(session.url);
        const policy = response.headers()['content-security-policy'] ?? '';
        assert.match(policy, /(default|script)-src 'self'/);
        assert.doesNotMatch(policy, /unsafe/);
        await session.says('#connection-text', 'Live');
        await session.goto();
        const detail = await session.api(`v1/jobs/${encodeURIComponent(await session.jobId())}`);
        assert.equal(await session.text('#job-name'), detail.name);
        assert.equal(await session.page.locator('.vertex').count(), detail.vertices.length);
        assert.equal(await session.page.locator('.edge').count(), detail.edges.length);
        return `${detail.vertices.length} vertices`;
    },

    async 'a click on a vertex shows its subtasks, Escape closes them'(session) {
        await session.goto();
        const [vertex] = (await session.api(`v1/jobs/${encodeURIComponent(await session.jobId())}`)).vertices;
        await session.page.locator('.vertex').first().click();
        await session.says('#vertex-name', vertex.name);
        assert.equal(await session.page.locator('#vertex tbody tr').count(), vertex.parallelism);
        assert.equal(await session.page.locator('.vertex').first().getAttribute('aria-expanded'), 'true');
        await session.page.keyboard.press('Escape');
        await session.page.locator('#vertex').waitFor({ state: 'hidden' });
        // The name is at the end of what is said where it is too long for the box, which depends on the fonts.
        const said = await session.focused();
        assert.ok(said.includes(vertex.name), said);
    },

    async 'everything is reached by keyboard'(session) {
        const { page } = session;
        await session.goto();
        await page.keyboard.press('Tab');
        assert.equal(await session.focused(), 'Skip to the job');
        await page.keyboard.press('Enter');
        assert.equal(await session.focused(), 'main');
        await page.locator('#tab-overview').focus();
        await page.keyboard.press('ArrowRight');
        assert.equal(await session.focused(), 'tab-checkpoints');
        await page.keyboard.press('Enter');
        await page.locator('#view-checkpoints').waitFor();
        await page.keyboard.press('Home');
        await page.keyboard.press('Enter');
        await page.locator('#view-overview').waitFor();
        await page.locator('.vertex[tabindex="0"]').focus();
        const first = await session.focused();
        await page.keyboard.press('End');
        assert.notEqual(await session.focused(), first);
        await page.keyboard.press('Enter');
        await page.locator('#vertex').waitFor();
        assert.equal(await page.locator('.vertex[tabindex="0"]').count(), 1);
        const outline = await page.evaluate(() => {
            document.getElementById('theme').focus();
            return getComputedStyle(document.getElementById('theme')).outlineStyle;
        });
        assert.equal(outline, 'solid');
    },

    async 'a table shows what the graph shows'(session) {
        await session.goto();
        await session.page.locator('#as-table').click();
        assert.equal(await session.page.locator('#vertices tbody tr').count(), await session.page.locator('.vertex').count());
        await session.page.locator('#vertices tbody button').last().click();
        await session.page.locator('#vertex').waitFor();
    },

    async 'a checkpoint opens to its subtasks'(session) {
        await session.goto('checkpoints');
        const row = session.page.locator('#checkpoint-history tr', { has: session.page.locator('[data-state="completed"]') }).last();
        await row.locator('button').click();
        await session.page.locator('tr.details tbody tr').first().waitFor();
        const bar = await session.page.locator('tr.details .bar').first().getAttribute('aria-label');
        assert.ok(bar.length > 0);
        await session.page.keyboard.press('Escape');
        await session.page.locator('tr.details').waitFor({ state: 'detached' });
    },

    async 'controls need the right token, which stays out of the address'(session) {
        const { page, token } = session;
        await session.goto();
        const { may } = await session.api('v1/overview');
        assert.equal(await page.locator('#controls').isVisible(), false);
        assert.equal(await page.locator('#unlock').isVisible(), may.control);
        if (!may.control || token === null) {
            return 'no token';
        }
        const order = async (typed) => {
            await page.locator('#unlock').click();
            await page.locator('#ask-value').fill(typed);
            await page.keyboard.press('Enter');
            await page.locator('#controls button', { hasText: 'Checkpoint' }).click();
        };
        await order('not the token of this server');
        await session.says('#banners', 'The token was refused');
        await page.locator('#controls').waitFor({ state: 'hidden' });
        session.forget();
        await order(token);
        // A region that restarts just then aborts the checkpoint; the order was taken all the same.
        await session.says('#banners', /Checkpoint #\d+ was taken|A checkpoint was ordered|Checkpoint: /);
        session.forget();
        assert.ok(!page.url().includes(token));
        assert.ok(session.requests.every((request) => !request.includes(encodeURIComponent(token))));
        assert.equal(await page.evaluate((secret) => JSON.stringify(localStorage).includes(secret), token), false);
        await page.locator('#controls button', { hasText: 'Cancel' }).click();
        await session.says('#ask-title', 'Cancel');
        await page.keyboard.press('Escape');
        await page.locator('#ask').waitFor({ state: 'hidden' });
        await page.locator('#unlock').click();
        await page.locator('#controls').waitFor({ state: 'hidden' });
    },

    async 'a restart shows up in the log and in the history'(session) {
        if (!session.restarts) {
            return 'not asked for';
        }
        const { page } = session;
        page.setDefaultTimeout(RESTART_WITHIN_MS);
        await session.goto('log');
        const job = encodeURIComponent(await session.jobId());
        const before = (await session.api(`v1/jobs/${job}`)).restarts;
        await session.says('#log-foot', /Shown: [1-9]/);
        const again = () => page.locator('#log-lines li', { hasText: 'running again' });
        const known = await again().count();
        session.mock?.fail();
        await again().nth(known).waitFor();
        await page.locator('#log-text').fill('running again');
        await page.waitForFunction(() => [...document.querySelectorAll('#log-lines .text')].every((line) => line.textContent.includes('running again')));
        await page.locator('#log-pause').click();
        await session.says('#log-foot', 'Paused');
        await page.locator('#tab-failures').click();
        await session.says('.failure', /Restored checkpoint\s*(#\d+|none)/);
        await session.says('.failure', /Downtime\s*\d/);
        const after = (await session.api(`v1/jobs/${job}`)).restarts;
        return `${before} restarts before, ${after} now`;
    },

    async 'every view is in order for screen readers, in both themes and at both widths'(session) {
        const found = [];
        for (const [colorScheme, width] of [['light', 1_280], ['dark', 360]]) {
            const other = await session.another({ width, colorScheme });
            const check = async (what) => {
                found.push(...(await other.violations()).map((violation) => `${what}, ${colorScheme}: ${violation}`));
                assert.equal(await other.sticksOut(), 0, `${what} is wider than ${width} pixels`);
            };
            for (const view of VIEWS) {
                await other.goto(view);
                await OPENED[view]?.(other.page);
                await check(view);
            }
            if (await other.page.locator('#unlock').isVisible()) {
                await other.page.locator('#unlock').click();
                await check('the question for the token');
                await other.page.keyboard.press('Escape');
            }
            await other.page.locator('.brand').click();
            await other.page.locator('#jobs').waitFor();
            await check('the list of jobs');
        }
        assert.deepEqual(found, []);
    },

    async 'the theme can be chosen and is kept'(session) {
        const { page } = session;
        await session.goto();
        const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
        const light = await ground();
        await page.locator('#theme').click();
        await page.locator('#theme').click();
        assert.notEqual(await ground(), light);
        await page.reload();
        await session.goto();
        assert.notEqual(await ground(), light);
    },
};

/** What a server goes through that was started here. */
export const killSteps = {
    async 'a server that is killed is said to be gone, and is seen when it is back'(session) {
        const { page, server } = session;
        await session.goto('log');
        await session.says('#log-foot', /Shown: [1-9]/);
        const path = `v1/jobs/${encodeURIComponent(await session.jobId())}`;
        const { newest_checkpoint: newest } = await session.api(path);
        await server.kill();
        await page.locator('html[data-link="lost"]').waitFor();
        await session.says('#connection-text', /Offline, .* old/);
        await session.says('#banners', /No connection to the server\. The figures are those of \d/);
        session.forget();
        // While it is away nothing else is to be told; the browser says of each question that it failed.
        await server.start();
        await page.locator('html[data-link="live"]').waitFor();
        session.forget();
        assert.equal(await page.locator('#banners .banner:visible').count(), 0);
        await session.says('#log-lines li', 'The job was started anew');
        await session.says('#connection-text', 'Live');
        const { latest: { restored } } = await session.api(`${path}/checkpoints`);
        assert.ok(newest === null || restored?.checkpoint >= newest, `checkpoint ${newest} was complete, ${restored?.checkpoint} was restored`);
        session.forget();
        return `restored checkpoint ${restored?.checkpoint}`;
    },
};

/** With a key that the job's state has. */
export const lookSteps = {
    async 'a key is looked up in the state of the job'(session) {
        const { page, key } = session;
        await session.goto('state');
        await page.locator('#look-key').fill(key);
        await page.locator('#look button').click();
        const shown = JSON.parse(await session.text('#look-answer pre'));
        const [operator, state] = (await page.locator('#look-state option:checked').innerText()).split(' · ').map(encodeURIComponent);
        const path = `v1/jobs/${encodeURIComponent(await session.jobId())}/state/${operator}/${state}?key=${encodeURIComponent(key)}`;
        const { found, value } = await session.api(path);
        assert.equal(found, true);
        assert.deepEqual(Object.keys(shown), Object.keys(value));
        return JSON.stringify(shown);
    },
};

/** Orders that change a real job, the last of which ends it. */
export const orderSteps = {
    async 'a savepoint is written, and is told of'(session) {
        const { page } = session;
        await session.goto();
        await session.unlock();
        const name = `of-the-page-${Date.now()}`;
        await order(session, 'Savepoint', name, `The savepoint was written to .*${name}`);
        const { latest: { savepoint } } = await session.api(`v1/jobs/${encodeURIComponent(await session.jobId())}/checkpoints`);
        assert.ok(savepoint.path.endsWith(name) && savepoint.bytes > 0, JSON.stringify(savepoint));
        return `${savepoint.bytes} bytes`;
    },

    async 'the job is paused and reads on'(session) {
        await session.goto();
        await session.unlock();
        await pauseAndResume(session);
    },

    async 'the job is rescaled'(session) {
        await session.goto();
        await session.unlock();
        const path = `v1/jobs/${encodeURIComponent(await session.jobId())}`;
        const { parallelism } = await session.api(path);
        await rescale(session, parallelism + 1);
        await session.until(path, (job) => job.parallelism === parallelism + 1 && job.regions.every((region) => region.state === 'running'));
        return `from ${parallelism} to ${parallelism + 1}`;
    },

    async 'the job drains, and says so'(session) {
        await session.goto();
        await session.unlock();
        await drain(session);
    },
};

export async function pauseAndResume(session) {
    const { page } = session;
    await page.locator('#controls button', { hasText: 'Pause' }).click();
    await session.says('#notices', 'Paused since');
    await page.locator('#controls button', { hasText: 'Resume' }).click();
    await page.locator('#controls button', { hasText: 'Pause' }).waitFor();
}

/** Has the job go on at another parallelism. */
export const rescale = (session, parallelism) => order(session, 'Rescale', String(parallelism), 'The job (runs at|will go on at another) parallelism');

/** Gives an order with the value that it asks for. A region that restarts just then refuses that for a moment. */
async function order(session, name, value, done) {
    const { page } = session;
    for (let tries = 1; ; tries += 1) {
        await page.locator('#controls button', { hasText: name }).click();
        await page.locator('#ask-value').fill(value);
        await page.keyboard.press('Enter');
        await session.says('#banners', new RegExp(`${done}|${name}: `));
        const refusal = page.locator('#banners .banner[data-level="error"]:visible');
        if (await refusal.count() === 0) {
            return;
        }
        assert.ok(tries < ORDER_TRIES, await refusal.first().innerText());
        await refusal.first().locator('button').click();
        session.forget();
    }
}

export async function drain(session) {
    const { page } = session;
    await page.locator('#controls button', { hasText: 'Drain' }).click();
    await page.locator('#ask-yes').click();
    await session.says('#notices', 'The job has ended (drained)');
    await page.locator('#controls').waitFor({ state: 'hidden' });
}
