// A server that is started here, so that it can be killed and started again.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout } from 'node:timers/promises';

const ANSWERS_WITHIN_MS = 60_000;

export class Server {
    /** `command` is to serve a dashboard at `url`. */
    constructor(command, url) {
        Object.assign(this, { command, url, child: null });
        // Also where the tests end in a way that was not foreseen.
        process.on('exit', () => this.child?.kill('SIGKILL'));
    }

    /** Starts it, and waits until it answers. */
    async start() {
        const [program, ...options] = this.command;
        this.child = spawn(program, options, { stdio: ['ignore', 'inherit', 'inherit'] });
        const until = Date.now() + ANSWERS_WITHIN_MS;
        while (!(await this.answers())) {
            if (this.child.exitCode !== null || Date.now() > until) {
                throw new Error(`${program} does not serve ${this.url}`);
            }
            await setTimeout(100);
        }
    }

    async answers() {
        try {
            return (await fetch(new URL('v1/overview', this.url))).ok;
        } catch {
            return false;
        }
    }

    async kill() {
        if (this.child !== null && this.child.exitCode === null && this.child.signalCode === null) {
            this.child.kill('SIGKILL');
            await once(this.child, 'exit');
        }
    }
}
