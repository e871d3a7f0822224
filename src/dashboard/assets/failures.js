// What failed, why, what was restored, and for how long the region was down.

import { byId, el, keyed, setText } from './dom.js';
import * as format from './format.js';

export function showFailures(failures) {
    const known = failures ?? [];
    byId('no-failures').hidden = failures === null || known.length > 0;
    keyed(byId('failures'), known, (one) => one.seq ?? `${one.unix_ms} ${one.task} ${one.subtask}`, create, update);
}

function create() {
    const pair = (name) => el('div', {}, el('dt', { text: name }), el('dd'));
    return el('li', { class: 'card failure' }, el('div', { class: 'card-head' }, el('h3'), el('time')), el('p', { class: 'cause' }),
        el('dl', { class: 'pairs' }, pair('Region'), pair('Restored checkpoint'), pair('Downtime'), pair('Record')));
}

function update(node, one) {
    const [head, cause, pairs] = node.children;
    const [name, time] = head.children;
    setText(name, one.subtask === null ? one.task : `${one.task}[${one.subtask}]`);
    setText(time, format.moment(one.unix_ms));
    setText(cause, one.cause);
    const downtime = one.downtime_ms === null ? '–' : format.duration(one.downtime_ms);
    const texts = [format.exact(one.region), one.restored_checkpoint === null ? 'none' : `#${one.restored_checkpoint}`, downtime, one.record ?? 'not shown'];
    texts.forEach((text, at) => setText(pairs.children[at].lastChild, text));
    pairs.children[3].hidden = one.record === null;
}
