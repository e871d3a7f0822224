// Building and updating elements. What the server says enters the page as text only, never as markup.

const SVG = 'http://www.w3.org/2000/svg';

/** An HTML element. `on…` attributes that are functions become listeners; `null` and `false` leave an attribute out. */
export function el(tag, attributes = {}, ...children) {
    return build(document.createElement(tag), attributes, children);
}

/** The same for SVG. */
export function svg(tag, attributes = {}, ...children) {
    return build(document.createElementNS(SVG, tag), attributes, children);
}

function build(node, attributes, children) {
    for (const [name, value] of Object.entries(attributes)) {
        if (typeof value === 'function') {
            node.addEventListener(name.slice(2), value);
        } else if (name === 'text') {
            node.textContent = value;
        } else {
            setAttribute(node, name, value);
        }
    }
    node.append(...children.filter((child) => child !== null));
    return node;
}

export const byId = (id) => document.getElementById(id);

/** Writes only what has changed, so that a selection or a screen reader is not disturbed. */
export function setText(node, text) {
    if (node.textContent !== text) {
        node.textContent = text;
    }
}

export function setAttribute(node, name, value) {
    if (value === null || value === undefined || value === false) {
        node.removeAttribute(name);
    } else if (node.getAttribute(name) !== String(value)) {
        node.setAttribute(name, value === true ? '' : value);
    }
}

/**
 * Makes the children of `parent` those of `items`, in order: made by `create(item)` when their key is new, then told by
 * `update(node, item)` each time. A node whose key stays is kept, and with it its focus.
 */
export function keyed(parent, items, keyOf, create, update = () => {}) {
    const known = parent.knownByKey ?? new Map();
    const wanted = new Map();
    for (const item of items) {
        const key = String(keyOf(item));
        const node = known.get(key) ?? create(item);
        wanted.set(key, node);
        update(node, item);
    }
    for (const [key, node] of known) {
        if (wanted.get(key) !== node) {
            node.remove();
        }
    }
    let at = 0;
    for (const node of wanted.values()) {
        if (parent.children[at] !== node) {
            parent.insertBefore(node, parent.children[at] ?? null);
        }
        at += 1;
    }
    parent.knownByKey = wanted;
}

/** Says where a row or a figure leads when it is chosen by mouse, Enter or the space bar. */
export function onChosen(node, action) {
    node.addEventListener('click', action);
    node.addEventListener('keydown', (event) => {
        if (event.target === node && (event.key === 'Enter' || event.key === ' ')) {
            event.preventDefault();
            action(event);
        }
    });
}

/** The arrow keys move the focus among `items()`, of which one at a time is reached by Tab. */
export function roving(container, items, step = stepInLine) {
    container.addEventListener('keydown', (event) => {
        const all = items();
        const from = all.indexOf(document.activeElement);
        const to = from < 0 ? null : step(event.key, all, from);
        if (to) {
            event.preventDefault();
            focusAmong(all, to);
            to.focus();
        }
    });
}

/** Makes `one` the item that Tab reaches. */
export function focusAmong(all, one) {
    for (const item of all) {
        setAttribute(item, 'tabindex', item === one ? 0 : -1);
    }
}

function stepInLine(key, all, from) {
    const last = all.length - 1;
    switch (key) {
        case 'ArrowRight':
        case 'ArrowDown':
            return all[from === last ? 0 : from + 1];
        case 'ArrowLeft':
        case 'ArrowUp':
            return all[from === 0 ? last : from - 1];
        case 'Home':
            return all[0];
        case 'End':
            return all[last];
        default:
            return null;
    }
}

/** A table in a box that scrolls sideways, reachable by keyboard, and its body. */
export function table(label, columns) {
    const body = el('tbody');
    const heads = columns.map((column) => {
        const { name, number = false, hint = null } = typeof column === 'string' ? { name: column } : column;
        return el('th', { scope: 'col', class: number ? 'number' : null, title: hint, text: name });
    });
    const inner = el('table', { 'aria-label': label }, el('thead', {}, el('tr', {}, ...heads)), body);
    return { box: el('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': label }, inner), body };
}
