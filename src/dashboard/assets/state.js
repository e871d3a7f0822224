// Keyed state: how much each operator has, and a look-up by key where the host allows it.

import { byId, el, keyed, setText, table } from './dom.js';
import * as format from './format.js';

export class StateView {
    /** `ask(operator, state, key)` looks a key up. */
    constructor(ask) {
        this.ask = ask;
        const { box, body } = table('State by operator', ['Operator', 'Open to look-ups', { name: 'Keys', number: true }, { name: 'Size', number: true }]);
        this.body = body;
        byId('state-table').append(box);
        byId('look').addEventListener('submit', (event) => {
            event.preventDefault();
            this.look();
        });
    }

    show(operators, mayLook) {
        const known = operators ?? [];
        byId('no-state').hidden = operators === null || known.length > 0;
        byId('state-table').hidden = known.length === 0;
        keyed(this.body, known, (one) => one.operator, () => el('tr', {}, el('th', { scope: 'row' }), el('td'), el('td', { class: 'number' }), el('td', { class: 'number' })), (row, one) =>
            [one.operator, one.states.join(', ') || '–', format.exact(one.entries), format.bytes(one.bytes)].forEach((text, at) => setText(row.children[at], text)));
        const states = known.flatMap((one) => one.states.map((state) => ({ operator: one.operator, state })));
        byId('look').hidden = !mayLook || states.length === 0;
        byId('no-look').hidden = mayLook;
        keyed(byId('look-state'), states, (one) => JSON.stringify(one), (one) => el('option', { value: JSON.stringify(one), text: `${one.operator} · ${one.state}` }));
    }

    async look() {
        const { operator, state } = JSON.parse(byId('look-state').value);
        const key = asJson(byId('look-key').value.trim());
        const answer = byId('look-answer');
        try {
            const { found, value, checkpoint, age_ms: age } = await this.ask(operator, state, key);
            const words = found ? el('pre', { text: JSON.stringify(value, null, 2) }) : el('p', { class: 'facts', text: 'There is no entry for this key.' });
            answer.replaceChildren(el('p', { class: 'facts', text: `${operator} · ${state} · key ${key} · ${asOf(checkpoint, age)}` }), words);
        } catch (error) {
            answer.replaceChildren(el('p', { class: 'notice', text: error.message }));
        }
    }
}

const asOf = (checkpoint, age) => (checkpoint ? `as of checkpoint #${checkpoint}, ${format.age(age)} ago` : 'live');

/** What was typed, if it is JSON; else the text that was meant. */
function asJson(typed) {
    try {
        JSON.parse(typed);
        return typed;
    } catch {
        return JSON.stringify(typed);
    }
}
