// Pictures of the page.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

const PICTURES_WITHIN_MS = 900_000;
/** Of one that goes into docs/. */
const PICTURE_BYTES_MAX = 200_000;
/** Kinds of colour vision that the browser can show. */
const DEFICIENCIES = ['protanopia', 'deuteranopia', 'tritanopia', 'achromatopsia'];

/** Is there, of this size, and not empty. */
async function check(path, width, height) {
    const bytes = await readFile(path);
    assert.deepEqual([bytes.toString('latin1', 1, 4), bytes.readUInt32BE(16), bytes.readUInt32BE(20)], ['PNG', width, height], path);
    return bytes.length;
}

export const pictureSteps = {
    async 'pictures of both themes at both widths'(session) {
        const pictures = [
            ['overview', 'light', 1_280, 1_200], ['overview', 'dark', 1_280, 1_200], ['checkpoints', 'dark', 1_280, 1_000],
            ['overview', 'light', 360, 900], ['overview', 'dark', 360, 900],
        ];
        const open = async ([view, colorScheme, width, height]) => {
            const other = await session.another({ width, height, colorScheme });
            await other.goto(view);
            await other.page.locator('.plot canvas, #checkpoint-history tbody tr').first().waitFor();
            return [`dashboard-${view === 'overview' ? '' : `${view}-`}${colorScheme}-${width}.png`, other, width, height];
        };
        const opened = [];
        for (const picture of pictures) {
            opened.push(await open(picture));
        }
        // Plots have what was seen since the page was opened.
        const until = Date.now() + session.minutes * 60_000;
        for (const [name, other, width, height] of opened) {
            other.page.setDefaultTimeout(PICTURES_WITHIN_MS);
            const rounds = () => other.requests.filter((request) => request.endsWith('v1/overview')).length;
            while (rounds() < 12 || Date.now() < until) {
                await other.page.waitForRequest('**/v1/overview');
            }
            const path = join(session.screenshots, name);
            await other.page.screenshot({ path });
            // A third of the bytes, where the tool is there.
            const { status } = spawnSync('pngquant', ['--force', '--ext', '.png', '--quality', '70-95', '--strip', path]);
            const size = await check(path, width, height);
            assert.ok(status !== 0 || size < PICTURE_BYTES_MAX, `${path} has ${size} bytes`);
        }
        return `${pictures.length} in ${session.screenshots}`;
    },

    async 'the page as people see it who tell some colours apart less, or none'(session) {
        for (const [view, shown] of [['overview', '.plot canvas'], ['checkpoints', '#checkpoint-history tbody tr .bar']]) {
            const [width, height] = [1_280, 1_000];
            const other = await session.another({ width, height });
            await other.goto(view);
            await other.page.locator(shown).first().waitFor();
            const browser = await other.context.newCDPSession(other.page);
            for (const type of DEFICIENCIES) {
                await browser.send('Emulation.setEmulatedVisionDeficiency', { type });
                const path = join(session.screenshots, `${view}-${type}.png`);
                await other.page.screenshot({ path });
                await check(path, width, height);
            }
        }
        return DEFICIENCIES.join(', ');
    },
};
