// A page of the dashboard in a browser of its own, and what went wrong in it.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';

const axe = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const WAIT_MS = 60_000;

export class Session {
    static async open(browser, settings, { width = 1_280, height = 860, colorScheme = 'light' } = {}) {
        const context = await browser.newContext({ viewport: { width, height }, colorScheme, reducedMotion: 'reduce', locale: 'en-GB' });
        const session = new Session();
        Object.assign(session, settings, { browser, settings, context, page: await context.newPage(), problems: [], requests: [], others: [] });
        const { page } = session;
        page.setDefaultTimeout(WAIT_MS);
        page.on('request', (request) => session.requests.push(request.url()));
        page.on('pageerror', (error) => session.problems.push(error.stack));
        page.on('console', (message) => ['error', 'warning'].includes(message.type()) && session.problems.push(message.text()));
        return session;
    }

    /** Another page with other settings of the browser, closed with this one. */
    async another(options) {
        const other = await Session.open(this.browser, this.settings, options);
        this.others.push(other);
        return other;
    }

    async close() {
        await Promise.all([...this.others.map((other) => other.close()), this.context.close()]);
    }

    /** What the API says. */
    async api(path) {
        return (await fetch(new URL(path, this.url))).json();
    }

    /** Asks until the answer is as it is wanted. */
    async until(path, isIt) {
        while (!isIt(await this.api(path))) {
            await this.page.waitForRequest('**/v1/overview');
        }
    }

    /** Enters the token. */
    async unlock() {
        await this.page.locator('#unlock').click();
        await this.page.locator('#ask-value').fill(this.token);
        await this.page.keyboard.press('Enter');
        await this.page.locator('#controls').waitFor();
    }

    /** The id of the job that is looked at. */
    async jobId() {
        return this.job ?? (await this.api('v1/overview')).jobs[0].id;
    }

    /** Opens a view of a job, and waits until it shows figures. */
    async goto(view = 'overview', job = null) {
        await this.page.goto(`${this.url}#/jobs/${encodeURIComponent(job ?? await this.jobId())}/${view}`);
        await this.page.locator('#tiles .value').first().waitFor();
        await this.page.locator(`#view-${view}`).waitFor();
    }

    /** Waits until the text of an element has something in it. */
    async says(selector, text) {
        await this.page.locator(selector).filter({ hasText: text }).first().waitFor();
    }

    text(selector) {
        return this.page.locator(selector).first().innerText();
    }

    /** Takes note of the problems that are expected from here on, such as a refused token. */
    forget() {
        this.problems = [];
    }

    /** No error was told, and nobody else was asked for anything. */
    checkRequests() {
        for (const session of [this, ...this.others]) {
            assert.deepEqual(session.problems, []);
            const elsewhere = session.requests.filter((request) => !request.startsWith(new URL(session.url).origin));
            assert.deepEqual(elsewhere, [], 'requests to others');
        }
    }

    /** The serious violations of accessibility rules that axe finds. */
    async violations() {
        await this.page.evaluate(axe);
        const { violations } = await this.page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }));
        const grave = violations.filter((violation) => ['serious', 'critical'].includes(violation.impact));
        return grave.map((violation) => `${violation.id}: ${violation.nodes.slice(0, 3).map((node) => `${node.html} ${node.failureSummary}`).join('; ')}`);
    }

    /** Elements that stick out of the page at its right, outside boxes that scroll. */
    async sticksOut() {
        return this.page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    }

    focused() {
        return this.page.evaluate(() => {
            const node = document.activeElement;
            return node.id || node.dataset.view || node.getAttribute('aria-label') || node.textContent.trim() || node.tagName;
        });
    }
}
