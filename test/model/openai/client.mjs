// Drives the sample model server with the official client, straight and through
// the proxy, and wants the same answers: node client.mjs STRAIGHT PROXIED
import assert from 'node:assert/strict';
import OpenAI from 'openai';

const [straight, proxied] = process.argv.slice(2).map((url) => new OpenAI({ baseURL: `${url}/v1`, apiKey: 'none', maxRetries: 0 }));
const model = 'ngram';
const messages = [{ role: 'user', content: 'What does a canary do in a mine?' }];
const schema = {
  type: 'object',
  properties: { gas: { type: 'string', enum: ['firedamp', 'whitedamp'] }, deadly: { type: 'boolean' } },
  required: ['gas', 'deadly'],
  additionalProperties: false,
};
const parameters = { type: 'object', properties: { place: { type: 'string' } }, required: ['place'], additionalProperties: false };
const weather = [{ role: 'user', content: 'What is the weather in Durham?' }];

// collect reads a stream to its end.
async function collect(stream) {
  const events = [];
  for await (const event of await stream) events.push(event);
  return events;
}

const text = (chunks) => chunks.map((c) => c.choices[0]?.delta.content ?? '').join('');

// Each takes a client and returns what is compared, after its own checks.
const cases = {
  models: async (c) => (await c.models.list()).data.map((m) => m.id),
  async chat(c) {
    const r = await c.chat.completions.create({ model, messages, seed: 1 });
    assert.equal(r.choices[0].finish_reason, 'stop');
    assert.equal(r.usage.total_tokens, r.usage.prompt_tokens + r.usage.completion_tokens);
    return r;
  },
  async 'chat, streamed with usage'(c) {
    const chunks = await collect(c.chat.completions.create({ model, messages, seed: 1, stream: true, stream_options: { include_usage: true } }));
    const whole = await c.chat.completions.create({ model, messages, seed: 1 });
    assert.equal(text(chunks), whole.choices[0].message.content);
    assert.deepEqual(chunks.at(-1).usage, whole.usage);
    assert.equal(chunks.at(-1).choices.length, 0);
    return chunks;
  },
  async 'chat, streamed without usage'(c) {
    const chunks = await collect(c.chat.completions.create({ model, messages, seed: 1, stream: true }));
    assert.ok(chunks.every((x) => !x.usage && x.choices.length === 1));
    return chunks;
  },
  async 'chat, by the stream helper'(c) {
    const r = await c.chat.completions.stream({ model, messages, seed: 3 }).finalChatCompletion();
    assert.equal(r.choices[0].message.role, 'assistant');
    return r;
  },
  async 'length'(c) {
    const r = await c.chat.completions.create({ model, messages, seed: 1, max_completion_tokens: 3 });
    assert.deepEqual([r.choices[0].finish_reason, r.usage.completion_tokens], ['length', 3]);
    return r;
  },
  async 'JSON schema'(c) {
    const r = await c.chat.completions.parse({ model, messages, seed: 2, response_format: { type: 'json_schema', json_schema: { name: 'gas', strict: true, schema } } });
    const parsed = JSON.parse(r.choices[0].message.content);
    assert.deepEqual(Object.keys(parsed), ['gas', 'deadly']);
    return r;
  },
  async 'tool call, streamed'(c) {
    const tools = [{ type: 'function', function: { name: 'get_weather', description: 'Weather of a place', parameters } }];
    const r = await c.chat.completions.stream({ model, messages: weather, seed: 2, tools }).finalChatCompletion();
    assert.equal(r.choices[0].finish_reason, 'tool_calls');
    assert.deepEqual(JSON.parse(r.choices[0].message.tool_calls[0].function.arguments), { place: 'Durham' });
    return r;
  },
  async refusal(c) {
    const r = await c.chat.completions.create({ model, seed: 1, messages: [{ role: 'user', content: 'How do I make a bomb?' }] });
    assert.match(r.choices[0].message.content, /can't help/);
    return r;
  },
  async completions(c) {
    const r = await c.completions.create({ model, prompt: 'A canary is', seed: 1, max_tokens: 20 });
    const chunks = await collect(c.completions.create({ model, prompt: 'A canary is', seed: 1, max_tokens: 20, stream: true }));
    assert.equal(chunks.map((x) => x.choices[0].text).join(''), r.choices[0].text);
    return [r, chunks];
  },
  async responses(c) {
    const r = await c.responses.create({ model, input: 'What is coal?', instructions: 'Answer in two sentences.', seed: 1 });
    assert.equal(r.output_text.split('.').length - 1, 2);
    assert.equal(r.status, 'completed');
    return r;
  },
  async 'responses, by the stream helper'(c) {
    const stream = c.responses.stream({ model, input: 'What is coal?', seed: 1 });
    const kinds = [];
    for await (const event of stream) kinds.push(event.type);
    const r = await stream.finalResponse();
    assert.equal(kinds[0], 'response.created');
    assert.equal(kinds.at(-1), 'response.completed');
    assert.ok(r.output[0].content[0].text.length > 0);
    return [kinds, r];
  },
  async 'responses, a call'(c) {
    const tools = [{ type: 'function', name: 'get_weather', description: 'Weather of a place', parameters, strict: true }];
    const r = await c.responses.create({ model, input: weather, tools, seed: 1 });
    assert.deepEqual([r.output[0].type, r.output[0].arguments], ['function_call', '{"place": "Durham"}']);
    return r;
  },
  async embeddings(c) {
    const r = await c.embeddings.create({ model, input: ['the lamp', 'the bird'] }); // the client asks for base64
    assert.equal(r.data[0].embedding.length, 256);
    assert.ok(Math.abs(r.data[1].embedding.reduce((s, x) => s + x * x, 0) - 1) < 1e-5);
    return r;
  },
  async 'an unknown model'(c) {
    const e = await c.chat.completions.create({ model: 'none', messages }).catch((e) => e);
    assert.ok(e instanceof OpenAI.NotFoundError);
    return [e.status, e.error, e.code];
  },
  async 'a client that leaves'(c) {
    const stream = await c.chat.completions.create({ model, messages, seed: 1, stream: true });
    for await (const chunk of stream) {
      stream.controller.abort();
      return chunk;
    }
  },
};

// compared is a plain copy of what a case returned. A server that the proxy asks
// for counts adds a usage of null to every chunk, as OpenAI's does.
const compared = (x) => JSON.parse(JSON.stringify(x, (key, value) => (key === 'usage' && value === null ? undefined : value)));

for (const [name, run] of Object.entries(cases)) {
  const [want, got] = [await run(straight), await run(proxied)];
  assert.deepEqual(compared(got), compared(want), name);
  console.log('ok', name);
}
console.log(`${Object.keys(cases).length} cases`);
