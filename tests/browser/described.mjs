// Whether an answer is as docs/openapi.json describes it, and has nothing beside that.

import { readFile } from 'node:fs/promises';
import Ajv from 'ajv/dist/2020.js';

const document = JSON.parse(await readFile(new URL('../../docs/openapi.json', import.meta.url), 'utf8'));
closed(document);
const ajv = new Ajv({ strict: false, allErrors: true }).addSchema(document, 'openapi');
const paths = Object.keys(document.paths).map((path) => ({ path, form: new RegExp(`^${path.replace(/\{\w+\}/g, '[^/]+')}$`) }));

/** Fields that are not described must not come; in the document they may be added in later versions. */
function closed(node) {
    if (typeof node !== 'object' || node === null) {
        return;
    }
    if (typeof node.properties === 'object' && !('additionalProperties' in node)) {
        node.additionalProperties = false;
    }
    Object.values(node).forEach(closed);
}

/** What is wrong with this JSON in answer to a request. */
export function mistakesOfAnswer(method, address, status, value) {
    const of = `${method} ${address}: ${status}`;
    const path = paths.find(({ form }) => form.test(address))?.path;
    const response = document.paths[path]?.[method.toLowerCase()]?.responses[status];
    const pointer = response?.$ref ?? (response && `#/paths/${escaped(path)}/${method.toLowerCase()}/responses/${status}`);
    return pointer ? mistakes(of, `${pointer}/content/application~1json/schema`, value) : [`${of} is not described`];
}

/** What is wrong with an event of the log. */
export const mistakesOfEvent = (event) => mistakes(`event ${event.event}`, '#/components/schemas/LogEvent', event);

const escaped = (path) => encodeURIComponent(path.replaceAll('~', '~0').replaceAll('/', '~1'));

function mistakes(of, pointer, value) {
    const isRight = ajv.getSchema(`openapi${pointer}`);
    if (isRight === undefined) {
        return [`${of} is not described as JSON`];
    }
    return isRight(value) ? [] : isRight.errors.map(({ instancePath, message, params }) => `${of}: ${instancePath} ${message} ${JSON.stringify(params)}`);
}
