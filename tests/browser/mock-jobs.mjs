// The jobs of the mock: figures that move, checkpoints, failures and events as the engine tells them.

let seed = 7;
function random() {
    seed = (seed * 48_271) % 2_147_483_647;
    return seed / 2_147_483_647;
}
const around = (value, spread = 0.06) => value * (1 + (random() - 0.5) * 2 * spread);
const clamp = (value) => Math.max(0, Math.min(1, value));
const HISTORY = 40;

/** A vertex: `[name, kind, parallelism, records a second, busy, backpressured, region, state keys, operators]`. */
const vertex = (id, [name, kind, parallelism, perSecond, busy, backpressured, region = 0, keys = null, operators = [name]]) =>
    ({ id, name, kind, parallelism, perSecond, busy, backpressured, region, keys, operators });

class MockJob {
    constructor(id, vertices, edges, { age = 7_860_000, intervalMs = 10_000, skewed = [], heldBack = [], hasEventTime = true } = {}) {
        Object.assign(this, { id, name: id, edges, intervalMs, skewed, heldBack, hasEventTime });
        this.vertices = vertices.map((row, at) => vertex(at, row));
        this.started = Date.now() - age;
        this.ended = null;
        this.pausedSince = null;
        this.state = 'running';
        this.regions = new Map([...new Set(this.vertices.map((one) => one.region))].map((region) => [region, { region, attempt: 1, state: 'running', restarts: 0, downtime_ms: 0, restarting_since_unix_ms: null, parked: null }]));
        this.events = [];
        this.listeners = new Set();
        this.failures = [];
        this.checkpoints = [];
        this.counts = { triggered: 0, in_progress: 0, completed: 0, failed: 0, cut_off: 0, restored: 0 };
        this.elapsed = age / 1_000;
        this.sequence = 0;
        this.tell('started', 'info', `attempt=1 started: ${this.vertices.length} tasks, ${this.subtasks} subtasks, no checkpoint to restore`, {}, this.started);
        this.checkpointId = Math.floor(age / intervalMs) - 36;
        for (let back = 36; back > 0; back -= 1) {
            this.checkpoint('periodic', Date.now() - back * intervalMs);
        }
        this.untilCheckpoint = intervalMs / 1_000;
        this.parallelism = 2;
        this.progress = null;
        this.savepoints = [];
    }

    get subtasks() {
        return this.vertices.reduce((all, one) => all + one.parallelism, 0);
    }

    tell(event, level, text, fields = {}, at = Date.now()) {
        const entry = { seq: (this.sequence += 1), unix_ms: at, job: this.name, event, level, text, ...fields };
        this.events.push(entry);
        this.listeners.forEach((listener) => listener(entry));
    }

    /** One second of its life. */
    step() {
        if (this.ended !== null) {
            return;
        }
        this.down?.();
        if (this.state === 'running' && this.pausedSince === null) {
            this.elapsed += 1;
        }
        this.untilCheckpoint -= 1;
        if (this.untilCheckpoint <= 0 && this.state === 'running') {
            this.untilCheckpoint = this.intervalMs / 1_000;
            this.checkpoint('periodic', Date.now());
        }
    }

    checkpoint(reason, at) {
        const id = (this.checkpointId += 1);
        const fails = id % 29 === 17;
        const [start, align, sync] = [around(2.2, 0.7), around(6.5, 0.8), around(3.1, 0.5)];
        const [async, store] = [around(21, 0.5) * (id % 11 === 0 ? 2.3 : 1), around(8, 0.4)];
        const state = 48_500_000 + this.elapsed * 900;
        const one = {
            id, status: fails ? 'failed' : 'completed', reason, triggered_unix_ms: at,
            duration_ms: fails ? 4_000 : start + align + sync + async + store,
            written_bytes: fails ? null : Math.round(around(1_900_000, 0.4)), state_bytes: fails ? null : Math.round(state),
            failure: fails ? "not acknowledged within 4000 ms by 'weather join'[1]" : null,
            start_delay_ms: fails ? null : start, alignment_ms: fails ? null : align, sync_ms: fails ? null : sync, async_ms: fails ? null : async,
            store_ms: fails ? null : store, slowest: fails ? null : { vertex: Math.min(3, this.vertices.length - 1), subtask: id % 2 },
        };
        this.checkpoints = [one, ...this.checkpoints].slice(0, HISTORY);
        this.counts.triggered += 1;
        this.counts[one.status] += 1;
        this.tell('checkpoint_triggered', 'debug', `checkpoint=${id} triggered (${reason})`, { checkpoint: id }, at);
        const [event, level, text] = fails ? ['checkpoint_aborted', 'warn', `checkpoint=${id} aborted: ${one.failure}`]
            : ['checkpoint_completed', 'info', `checkpoint=${id} completed in ${Math.round(one.duration_ms)} ms: ${Math.round(one.written_bytes / 1_024)} KiB written, ${Math.round(state / 1_048_576)} MiB in all`];
        this.tell(event, level, text, { checkpoint: id }, Math.round(at + one.duration_ms));
        return id;
    }

    newest() {
        return this.checkpoints.find((one) => one.status === 'completed') ?? null;
    }

    /** A subtask of region 0 panics; the region runs again after four seconds. */
    fail() {
        const region = this.regions.get(0);
        const task = this.vertices.find((one) => one.kind === 'operator');
        const failure = {
            seq: this.sequence + 1, unix_ms: Date.now(), region: 0, attempt: region.attempt, task: task.name, subtask: 1, cause: `panicked: 'arrival before departure: Some(-14)' at src/delays.rs:118:22`,
            record: null, restored_checkpoint: null, downtime_ms: null,
        };
        this.failures.unshift(failure);
        this.state = 'restarting';
        this.lastError = `${task.name}[1] ${failure.cause}`;
        Object.assign(region, { state: 'restarting', attempt: region.attempt + 1, restarts: region.restarts + 1, restarting_since_unix_ms: Date.now() });
        const at = { region: 0, attempt: region.attempt };
        this.tell('subtask_failed', 'error', `attempt=${region.attempt - 1} ${this.lastError}, after 81233 input records`, { actor: `${task.name}[1]` });
        this.tell('region_restarting', 'warn', `region=0 restarts in 2.0 s (failure 1 of 16 since checkpoint ${this.newest().id})`, at);
        let seconds = 0;
        this.down = () => {
            seconds += 1;
            if (seconds === 2) {
                failure.restored_checkpoint = this.newest().id;
                this.tell('restoring', 'info', `region=0 attempt=${region.attempt} ${task.name}[1] restores checkpoint ${this.newest().id}: 12 MiB of 46 MiB, 120000 keys after 900 ms`,
                    { ...at, actor: `${task.name}[1]`, checkpoint: this.newest().id, bytes: 12_582_912, bytes_total: 48_234_496, entries: 120_000 });
            } else if (seconds === (this.isSlow ? 30 : 4)) {
                failure.downtime_ms = seconds * 1_000 + 37;
                Object.assign(region, { state: 'running', downtime_ms: region.downtime_ms + failure.downtime_ms, restarting_since_unix_ms: null });
                this.state = 'running';
                this.down = undefined;
                this.counts.restored += 1;
                this.restored = { checkpoint: failure.restored_checkpoint, region: 0, attempt: region.attempt, bytes: 48_234_496, took_ms: 1_900, rewinds: 81_233, downtime_ms: failure.downtime_ms };
                this.tell('restored', 'info', `region=0 attempt=${region.attempt} restored checkpoint ${failure.restored_checkpoint} (6.2 s old, 46 MiB, 412033 keys) in 1.9 s; sources rewind 81233 records that this process had read`, at);
                this.tell('region_running', 'info', `region=0 attempt=${region.attempt} running again 4.0 s after the failure`, at);
            }
        };
    }

    /** Region 1 gives up and is parked. */
    park() {
        const region = this.regions.get(1);
        const parked = { cause: "region 1 gave up after 16 failures since checkpoint 740: audit log[0] panicked: 'no space left on device'", since_unix_ms: Date.now() - 95_000, checkpoint: 741 };
        Object.assign(region, { state: 'parked', parked });
        this.tell('region_parked', 'warn', 'region=1 is parked at checkpoint 741', { region: 1 });
    }

    /** A region that is parked runs again: status and answer. */
    unpark(number) {
        const region = this.regions.get(number);
        if (!region?.parked) {
            return [409, { error: { code: 'not_parked', message: `region ${number} is not parked` } }];
        }
        Object.assign(region, { state: 'running', attempt: region.attempt + 1, parked: null });
        this.tell('region_resumed', 'info', `region=${number} starts again`, { region: number });
        return [200, { region: number }];
    }

    restoreSlowly() {
        this.isSlow = true;
        this.fail();
    }

    /** A checkpoint, and a savepoint, that come no further. */
    checkpointSlowly() {
        const [checkpoint, since_unix_ms] = [this.checkpointId + 1, Date.now() - 12_000];
        this.progress = { checkpoint, reason: 'savepoint', since_unix_ms, acknowledged: 3, of: this.subtasks, bytes: 1_234_567 };
        this.savepoints = [{ path: 'savepoints/monday', checkpoint: this.checkpointId, since_unix_ms, bytes: 12_582_912, of_bytes: 48_234_496 }];
        this.tell('checkpoint_in_progress', 'info', `checkpoint=${checkpoint} in progress (Savepoint) for 12.0 s: 3 of ${this.subtasks} subtasks acknowledged, 1 MiB stored`, { checkpoint });
    }

    end(state) {
        this.state = state;
        this.ended = Date.now();
        this.tell('ended', state === 'failed' ? 'error' : 'info', `${state}: ${this.counts.completed} checkpoints, ${this.failures.length} restarts`);
        return this;
    }

    /** Status and answer. */
    order(name, body, rest) {
        switch (name) {
            case 'checkpoints':
                return [200, { checkpoint: this.checkpoint('on_demand', Date.now()) }];
            case 'savepoints':
                this.tell('savepoint_written', 'info', `savepoint of checkpoint=${this.checkpointId} written to ${body.path} in 212 ms: 46 MiB`);
                return [200, { checkpoint: this.checkpointId, unix_ms: null, path: body.path, bytes: 48_234_496 }];
            case 'pause':
                this.pausedSince = Date.now();
                this.tell('paused', 'info', `paused since ${this.pausedSince} (Unix ms): its sources read nothing until it is resumed`);
                return [200, { paused: true }];
            case 'resume':
                this.pausedSince = null;
                this.tell('resumed', 'info', 'resumed: its sources read on');
                return [200, { paused: false }];
            case 'rescale': {
                const from = this.parallelism;
                this.parallelism = body.parallelism;
                this.vertices.forEach((one) => { one.parallelism = body.parallelism; });
                this.tell('rescaled', 'warn', `rescaled from parallelism ${from} to ${body.parallelism} at checkpoint ${this.checkpointId} in 214 ms`);
                return [200, { from, to: body.parallelism, checkpoint: this.checkpointId, took_ms: 214.3 }];
            }
            case 'regions':
                return this.unpark(Number(rest[0]));
            case 'drain':
            case 'cancel':
                this.end(name === 'drain' ? 'drained' : 'cancelled');
                return [202, { accepted: true }];
            default:
                return [404, { error: { code: 'no_such_address', message: 'there is nothing at this address' } }];
        }
    }

    summary() {
        return {
            id: this.id, name: this.name, state: this.pausedSince !== null && this.ended === null ? 'paused' : this.state, started_unix_ms: this.started, ended_unix_ms: this.ended,
            paused_since_unix_ms: this.pausedSince, restarts: this.failures.length, tasks: this.vertices.length, subtasks: this.subtasks, last_error: this.lastError ?? null,
        };
    }

    figures(one, weight) {
        const runs = this.ended === null && this.pausedSince === null && this.regions.get(one.region).state === 'running';
        const perSecond = runs ? around(one.perSecond * weight) : 0;
        const busy = runs ? clamp(around(one.busy)) : 0;
        const backpressured = runs ? Math.min(1 - busy, clamp(around(one.backpressured))) : 0;
        const records = Math.round(one.perSecond * weight * this.elapsed);
        const [into, out] = [one.kind !== 'source', one.kind !== 'sink'];
        const lag = this.hasEventTime ? (this.heldBack.length > 0 ? 41_000 : around(2_300, 0.3)) + one.id * 120 : null;
        return {
            records_in: into ? records : 0, records_out: out ? records : 0, bytes_in: into ? records * 61 : 0, bytes_out: out ? records * 58 : 0,
            records_in_per_second: into ? perSecond : 0, records_out_per_second: out ? perSecond : 0,
            busy, waiting: 0, backpressured, idle: Math.max(0, 1 - busy - backpressured),
            watermark: lag === null ? null : Math.round(Date.now() - lag), watermark_lag_ms: lag,
            late_records: one.kind === 'operator' ? Math.round(this.elapsed / 900) : 0,
            state_entries: one.keys === null ? null : Math.round(one.keys * weight), state_bytes: one.keys === null ? null : Math.round(one.keys * weight * 114 + this.elapsed * 90),
            timers: one.keys === null ? null : Math.round(one.keys * weight * 0.02),
        };
    }

    vertexDetail(one) {
        const isSkewed = this.skewed.includes(one.name);
        const weights = Array.from({ length: one.parallelism }, (_, at) => (isSkewed && at === 0 ? 2.4 : 1));
        const all = weights.reduce((sum, weight) => sum + weight, 0);
        const { attempt, state } = this.regions.get(one.region);
        const subtasks = weights.map((weight, at) => ({ subtask: at, attempt, state: this.ended === null ? state : 'ended', ...this.figures(one, weight / all) }));
        return {
            id: one.id, name: one.name, operators: one.operators, kind: one.kind, region: one.region, parallelism: one.parallelism, max_parallelism: 128,
            ...this.figures(one, 1), skew: isSkewed ? 0.47 : 0.03, subtasks,
        };
    }

    detail() {
        const flow = (edge) => (this.state === 'running' && this.ended === null && this.pausedSince === null ? around(this.vertices[edge[0]].perSecond * (edge[3] ?? 1)) : 0);
        return {
            ...this.summary(), now_unix_ms: Date.now(), store_bytes: Math.round(61_000_000 + this.elapsed * 40), parallelism: this.parallelism, newest_checkpoint: this.newest()?.id ?? null, checkpoint_in_progress: this.progress, savepoints_in_progress: this.savepoints, interval_ms: this.intervalMs,
            advice: { interval_ms: 42_300, young_ms: 40_900, daly_ms: 42_260, cost_ms: 38.4, failure_spacing_ms: 21_800_000, failures: this.failures.length },
            recovery: { restart_ms: 120, restore_ms: 1_900, reprocessing_ms: 5_300, catch_up_percent: 240 },
            held_back: this.heldBack, regions: [...this.regions.values()].map((region) => ({ ...region, state: this.ended === null ? region.state : 'ended' })),
            vertices: this.vertices.map((one) => this.vertexDetail(one)),
            edges: this.edges.map((edge) => ({
                from: edge[0], to: edge[1], port: 0, records: Math.round(this.vertices[edge[0]].perSecond * (edge[3] ?? 1) * this.elapsed), partitioning: edge[2].startsWith('side output') ? 'forward' : edge[2],
                side_output: edge[2].startsWith('side output') ? edge[2].slice(12) : null, records_per_second: flow(edge),
                queued_batches: edge[4] ? 32 : Math.floor(random() * 4), credits: edge[4] ? 0 : 28,
            })),
        };
    }

    checkpointStats() {
        const completed = this.checkpoints.filter((one) => one.status === 'completed');
        const figures = (key) => {
            const sorted = completed.map((one) => one[key]).sort((one, other) => one - other);
            const at = (share) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
            return { min: at(0), avg: sorted.reduce((sum, value) => sum + value, 0) / sorted.length, max: at(1), p50: at(0.5), p99: at(0.99) };
        };
        const latest = (status) => this.checkpoints.find((one) => one.status === status) ?? null;
        return {
            counts: this.counts, summary: completed.length === 0 ? null : { duration_ms: figures('duration_ms'), written_bytes: figures('written_bytes'), state_bytes: figures('state_bytes') },
            latest: { completed: latest('completed'), failed: latest('failed'), restored: this.restored ?? null, savepoint: null }, history: this.checkpoints,
        };
    }

    checkpointDetails(id) {
        const one = this.checkpoints.find((checkpoint) => checkpoint.id === id);
        if (one === undefined) {
            return null;
        }
        const subtasks = this.vertices.flatMap((place) => Array.from({ length: place.parallelism }, (_, subtask) => {
            const share = place.id === one.slowest?.vertex && subtask === one.slowest.subtask ? 1 : 0.2 + random() * 0.6;
            const parts = Object.fromEntries(['start_delay_ms', 'alignment_ms', 'sync_ms', 'async_ms'].map((part) => [part, (one[part] ?? 0) * share]));
            return { vertex: place.id, subtask, ...parts, written_bytes: Math.round((one.written_bytes ?? 0) / this.subtasks), end_to_end_ms: Object.values(parts).reduce((sum, part) => sum + part, 0) };
        }));
        return { ...one, subtasks: one.status === 'completed' ? subtasks : [] };
    }

    stateSizes() {
        return this.vertices.filter((one) => one.keys !== null).map((one) => ({ operator: one.name, states: ['accumulator', 'timers'], entries: one.keys, bytes: one.keys * 114 }));
    }

    look(key) {
        return JSON.parse(key) === 'MIA' ? { found: true, checkpoint: null, age_ms: 0, value: { flights: 2_193, mean_delay_min: 11.4, worst: { flight: 'AA 2117', delay_min: 402 } } } : { found: false, value: null, checkpoint: this.newest().id, age_ms: 4_200 };
    }
}

/** All of them, as at the start of the mock. */
export function jobs() {
    const delays = new MockJob('flight-delays', [
        ['flights', 'source', 2, 12_400, 0.31, 0.42, 0, null, ['flights', 'parse', 'timestamps']],
        ['weather', 'source', 1, 340, 0.06, 0.03],
        ['weather join', 'operator', 4, 12_300, 0.86, 0.04, 0, 310_000],
        ['delays by airport', 'operator', 4, 12_200, 0.44, 0.02, 0, 102_033, ['key-by airport', 'sliding window 1 h', 'top delays']],
        ['files', 'sink', 2, 410, 0.12, 0],
        ['late flights', 'sink', 1, 3, 0.01, 0],
        ['audit', 'source', 1, 88, 0.03, 0, 1],
        ['audit log', 'sink', 1, 88, 0.05, 0, 1],
    ], [[0, 2, 'hash', 1, true], [1, 2, 'broadcast'], [2, 3, 'hash'], [3, 4, 'rebalance', 0.03], [3, 5, 'side output late', 0.0003], [6, 7, 'forward']], { skewed: ['delays by airport'] });
    const orders = new MockJob('orders', [
        ['orders', 'source', 2, 900, 0.2, 0.62], ['reserve', 'operator', 2, 900, 0.71, 0.18, 0, 9_000], ['charge', 'operator', 2, 890, 0.97, 0, 0, 4_000], ['reply', 'sink', 2, 890, 0.2, 0],
        ['refunds', 'source', 2, 40, 0.05, 0, 1, null, ['refunds', 'refund times']], ['refund log', 'sink', 2, 40, 0.04, 0, 1],
    ], [[0, 1, 'hash'], [1, 2, 'forward', 1, true], [2, 3, 'forward'], [4, 5, 'forward']], {
        heldBack: [
            { region: 0, source: 'orders', split: 'orders-00017.log', subtask: 1, since_ms: 64_000, watermark: Date.now() - 64_000, ahead: Date.now() - 2_300 },
            { region: 1, source: 'refund times', split: null, subtask: 0, since_ms: 31_000, watermark: null, ahead: Date.now() - 2_300 },
        ],
    });
    const long = new MockJob('eu-central-1.production.customer-behaviour-sessionisation-and-attribution.v17', [
        ['clickstream-from-the-regional-ingest-gateway-with-a-very-long-name', 'source', 12, 2_400_000, 0.5, 0.1],
        ['<b>sessionise</b> & "attribute" по-русски 日本語', 'operator', 24, 2_400_000, 0.6, 0.05, 0, 98_000_000],
        ['warehouse-with-exactly-once-commits-into-partitioned-parquet-files', 'sink', 6, 1_100_000, 0.3, 0],
    ], [[0, 1, 'side output records-that-could-not-be-decoded'], [1, 2, 'rebalance']], { hasEventTime: false });
    const wide = Array.from({ length: 60 }, (_, at) => [`stage ${Math.floor(at / 6)}.${at % 6}`, at < 6 ? 'source' : at >= 54 ? 'sink' : 'operator', 1 + (at % 4), 4_000, (at * 37 % 90) / 100, (at * 13 % 40) / 100]);
    const wideEdges = wide.flatMap((_, at) => (at < 54 ? [[at, at + 6, 'forward'], ...(at % 6 < 5 ? [[at, at + 7, 'hash', 0.4]] : [])] : []));
    const sixty = new MockJob('sixty', wide, wideEdges);
    const done = new MockJob('nightly-report', [['ledger', 'source', 1, 5_000, 0.3, 0], ['report', 'sink', 1, 5_000, 0.2, 0]], [[0, 1, 'forward']]).end('finished');
    const broken = new MockJob('fraud', [['payments', 'source', 1, 800, 0.3, 0], ['alerts', 'sink', 1, 800, 0.2, 0]], [[0, 1, 'forward']]).end('failed');
    broken.lastError = "region 0 gave up after 16 failures since checkpoint 412: alerts[0] panicked: 'disk full'";
    return [delays, orders, long, sixty, done, broken];
}
