// What is tried with the mock alone, each on a page of its own.

import assert from 'node:assert/strict';
import { drain, pauseAndResume, rescale, VIEWS } from './steps.mjs';

/** What only the mock can do. */
export const mockSteps = {
    async 'a lost connection is said, and figures are not shown as live'(session) {
        const { page, mock } = session;
        await session.goto();
        mock.hang(8_000);
        await page.locator('html[data-link="lost"]').waitFor();
        await session.says('#connection-text', 'Offline');
        await session.says('#banners', 'No connection to the server');
        session.forget();
        await page.locator('html[data-link="live"]').waitFor();
        assert.equal(await page.locator('#banners .banner:visible').count(), 0);
        await page.locator('#tab-log').click();
        await page.locator('#log-notice').waitFor({ state: 'hidden' });
        session.forget();
    },

    async 'names are text, however long, and the page is never wider than a phone'(session) {
        const { page } = session;
        const other = await session.another({ width: 360, height: 780 });
        const jobs = (await session.api('v1/overview')).jobs;
        for (const job of jobs) {
            for (const view of VIEWS) {
                await other.goto(view, job.id);
                assert.equal(await other.sticksOut(), 0, `${job.id}, ${view}`);
            }
        }
        const long = jobs.find((job) => job.name.startsWith('eu-central'));
        await session.goto('overview', long.id);
        assert.equal(await page.locator('main b, svg b').filter({ hasText: 'sessionise' }).count(), 0);
        await page.locator('#as-table').click();
        await session.says('#vertices th', '<b>sessionise</b>');
    },

    async 'sixty vertices are drawn and walked'(session) {
        await session.goto('overview', 'sixty');
        assert.equal(await session.page.locator('.vertex').count(), 60);
        await session.page.locator('.vertex[tabindex="0"]').focus();
        for (const key of ['ArrowDown', 'ArrowRight', 'ArrowDown', 'ArrowLeft', 'ArrowUp']) {
            await session.page.keyboard.press(key);
        }
        assert.match(await session.focused(), /^stage \d\.\d /);
        await session.page.locator('#graph-smaller').click();
        await session.page.locator('#graph-fit').click();
    },

    async 'what holds event time back is named'(session) {
        await session.goto('overview', 'orders');
        await session.says('#event-time li', /^orders\[1\] holds region 0 back: split orders-00017\.log stands at .* for/);
        await session.says('#event-time li', /^refund times\[0\] holds region 1 back: it stands before its first watermark for/);
        assert.equal(await session.page.locator('.vertex', { hasText: 'holds time back' }).count(), 2);
    },

    async 'a key is looked up'(session) {
        await session.goto('state');
        await session.page.locator('#look-key').fill('MIA');
        await session.page.locator('#look button').click();
        await session.says('#look-answer pre', '"flights": 2193');
        await session.page.locator('#look-key').fill('"nowhere"');
        await session.page.keyboard.press('Enter');
        await session.says('#look-answer', 'no entry');
    },

    async 'a long restore shows how far it is'(session) {
        await session.goto();
        session.mock.restore();
        await session.says('#notices', 'restores checkpoint');
        await session.page.locator('#notices progress:visible').first().waitFor();
        session.mock.anew();
        session.forget();
    },

    async 'a long checkpoint and a long savepoint show how far they are'(session) {
        await session.goto();
        session.mock.checkpoint();
        await session.says('#notices', /Checkpoint \d+ of a savepoint is under way for 1\d\s+s: 3 of \d+\s+subtasks acknowledged, 1\.18\s+MiB stored/);
        await session.says('#notices', /written to savepoints\/monday: 12\.0\s+MiB of 46\.0\s+MiB/);
        const bars = session.page.locator('#notices progress:visible');
        assert.equal(await bars.count(), 2);
        assert.deepEqual(await session.violations(), []);
        session.mock.anew();
        session.forget();
    },

    async 'a parked region is told of, and resumed'(session) {
        const { page, token, mock } = session;
        await session.goto();
        mock.park();
        await session.says('#notices', /❙❙ Region 1 is parked for 1\s+min 3\d\s+s: it gave up, and the others run on\. It goes on from checkpoint 741 once it is resumed \(Unlock/);
        await session.says('.region text', 'region 1 · ❙❙ parked');
        assert.deepEqual(await session.violations(), []);
        await session.unlock();
        await page.locator('#notices button', { hasText: 'Resume region 1' }).click();
        await session.says('#banners', 'Region 1 starts again');
        await page.locator('#notices .banner').waitFor({ state: 'detached' });
        mock.anew();
        session.forget();
    },

    async 'a job is rescaled after a question'(session) {
        const { page, mock } = session;
        await session.goto('overview', 'orders');
        await session.unlock();
        await page.locator('#controls button', { hasText: 'Rescale' }).click();
        await session.says('#ask-text', 'It runs at parallelism 2');
        assert.equal(await page.locator('#ask-value').inputValue(), '2');
        // A number that is none is not sent.
        await page.locator('#ask-value').fill('0');
        await page.keyboard.press('Enter');
        assert.equal(await page.locator('#ask').isVisible(), true);
        await page.keyboard.press('Escape');
        await rescale(session, 3);
        await page.locator('.vertex').first().click();
        await page.locator('#vertex tbody tr').nth(2).waitFor();
        await page.locator('#controls button', { hasText: 'Checkpoint' }).waitFor();
        await page.locator('#controls button', { hasText: 'Savepoint' }).click();
        assert.equal(await page.locator('#ask-value').getAttribute('type'), 'text');
        assert.equal(await page.locator('#ask-value').getAttribute('max'), null);
        await page.keyboard.press('Escape');
        mock.anew();
        session.forget();
    },

    async 'a job that pauses, drains and ends says so'(session) {
        await session.goto('overview', 'orders');
        await session.unlock();
        await pauseAndResume(session);
        await drain(session);
        session.mock.anew();
        session.forget();
    },

    async 'a job that is gone, no job at all, and a new start'(session) {
        const { page, mock } = session;
        await session.goto();
        mock.none();
        await session.says('#notices', 'knows no job');
        assert.notEqual(await page.locator('#job').getAttribute('data-stale'), null);
        await page.locator('.brand').click();
        await page.locator('#no-jobs').waitFor();
        mock.some();
        await page.locator('#jobs-table tbody tr').first().waitFor();
        await page.locator('#jobs-table tbody a').first().click();
        await page.locator('.vertex').first().waitFor();
        mock.anew();
        session.forget();
        await page.locator('#tab-log').click();
        await session.says('#log-lines li', 'The job was started anew');
        session.forget();
    },
};
