// A small stand-in for the backend: serves dist/ under the product's own Content-Security-Policy and answers the REST
// contract from memory, so that screens can be built, tested and looked at without it.
// MOCK_PORT (default: a free one, printed), MOCK_SLOW_MS (delay of each answer), MOCK_BROKEN_CHAIN=1, MOCK_ARCHIVE_DOWN=1, MOCK_EMPTY=1.
import { createServer } from 'node:http';
import { readFile } from 'node:fs/promises';
import { extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as data from './data.mjs';

const dist = fileURLToPath(new URL('../../dist', import.meta.url));
const TYPES = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript',
  '.css': 'text/css',
  '.svg': 'image/svg+xml',
  '.json': 'application/json',
  '.webmanifest': 'application/manifest+json',
  '.wasm': 'application/wasm',
};
const CSP =
  "default-src 'self'; connect-src 'self' ws: wss:; img-src 'self' blob: data:; media-src 'self' blob:; base-uri 'none'; frame-ancestors 'none'; object-src 'none'";
const COOKIE = 'consilium_refresh=; Path=/api/v1/session; HttpOnly; SameSite=Strict';
const slow = Number(process.env.MOCK_SLOW_MS ?? 0);
const streams = new Set();
let serial = 100;
let eventSeq = 1;

const id = () => `01JA${String(++serial).padStart(4, '0')}`;

export class Refused extends Error {
  constructor(status, code, detail, facts = {}) {
    super(detail);
    Object.assign(this, { status, code, facts });
  }
}

export function tell(type, subject, body = {}) {
  const event = {
    id: id(),
    type,
    tenant: 'demo',
    subject,
    time: new Date().toISOString(),
    data: body,
    seq: eventSeq++,
  };
  for (const stream of streams) stream.write(`event: ${type}\ndata: ${JSON.stringify(event)}\n\n`);
}

const page = (items, cursor, size = 25) => {
  const from = Number(cursor ?? 0);
  return {
    items: items.slice(from, from + size),
    next_cursor: from + size < items.length ? String(from + size) : null,
  };
};
const userOf = (name) => ({ id: name, username: name, name: data.users[name], role: name, tenant: 'demo' });
const session = (name) => ({ access_token: `mock.${name}`, expires_in_s: 900, user: userOf(name) });
const found = (value, what) => {
  if (!value) throw new Refused(404, 'not-found', `No ${what} with this id.`);
  return value;
};

function move(consultation, to, by, reason = null) {
  consultation.history = [
    ...(consultation.history ?? []),
    { at: new Date().toISOString(), by: by.id, by_name: by.name, from: consultation.state, to, reason },
  ];
  consultation.state = to;
  tell('consultation.changed', consultation.id, { state: to });
  return consultation;
}

function changeReport(report, state, by, more = {}) {
  Object.assign(report, { state, ...more, version: report.version + 1 });
  report.etag = `"${report.version}"`;
  data.versions[report.id].push({
    version: report.version,
    at: new Date().toISOString(),
    by,
    act: more.act ?? 'edit',
    state,
    reason: more.reason ?? '',
    sections: { ...report.sections },
  });
  tell('report.changed', report.id, { consultation_id: report.consultation_id, state, version: report.version });
  return report;
}

function heldEntry(entry, version) {
  const one = found(
    data.held.find((x) => x.id === entry),
    'quarantine entry',
  );
  if (version !== undefined && version !== one.version)
    throw new Refused(409, 'quarantine-moved', 'Somebody has changed this entry meanwhile. Look at it again.');
  return one;
}

function decide(entry, { version, reason }, by, state) {
  const one = heldEntry(entry, version);
  if (state === 'released' && one.proposed_by === by.id)
    throw new Refused(403, 'second-person-needed', 'You have proposed this identity: another person must approve it.');
  const decided_at = new Date().toISOString();
  Object.assign(one, { state, reason, decided_by: by.id, decided_at, version: one.version + 1 });
  tell('quarantine.changed', one.id, { state, study_uid: one.study_uid });
  return state === 'released' ? { entry: one } : one;
}

const STEPS = { accept: 'accepted', start: 'in_session', finish: 'reporting', cancel: 'cancelled', reject: 'rejected' };

const routes = [
  ['GET', '/api/v1/info', () => ({ name: 'Consilium', version: '0.1.0', languages: ['zh-CN', 'en'], ice_servers: [] })],
  ['GET', '/api/v1/rooms', () => ({ items: data.rooms, next_cursor: null })],
  [
    'GET',
    '/api/v1/rooms/:id',
    ({ id: room }) =>
      found(
        data.rooms.find((r) => r.id === room),
        'room',
      ),
  ],
  [
    'GET',
    '/api/v1/patients',
    (_, { query }) =>
      page(
        data.patients.filter((p) =>
          JSON.stringify(p)
            .toLowerCase()
            .includes((query.get('q') ?? '').toLowerCase()),
        ),
        query.get('cursor'),
      ),
  ],
  [
    'POST',
    '/api/v1/patients',
    (_, { body }) => {
      const patient = { id: id(), ...body, created_at: new Date().toISOString() };
      data.patients.push(patient);
      return patient;
    },
  ],
  ['GET', '/api/v1/consultations', (_, { query }) => page(data.consultations, query.get('cursor'))],
  [
    'POST',
    '/api/v1/consultations',
    (_, { body, by }) => {
      const patient = found(
        data.patients.find((p) => p.id === (body.patient_id ?? body.patient?.id)),
        'patient',
      );
      const made = {
        id: id(),
        patient,
        question: body.question,
        urgency: body.urgency,
        kind: body.kind,
        state: 'requested',
        requested_by: by.id,
        requested_by_name: by.name,
        requested_at: new Date().toISOString(),
        accepted_by: null,
        room_id: null,
        report_id: null,
        study_uid: body.study_uid ?? null,
        accession_number: 'A900',
        due_at: data.ahead(10),
        history: [],
      };
      data.consultations.unshift(made);
      tell('consultation.changed', made.id, { state: 'requested' });
      return made;
    },
  ],
  [
    'GET',
    '/api/v1/consultations/:id',
    ({ id: c }) =>
      found(
        data.consultations.find((x) => x.id === c),
        'consultation',
      ),
  ],
  [
    'POST',
    '/api/v1/consultations/:id/:step',
    ({ id: c, step }, { by, body }) => {
      const consultation = found(
        data.consultations.find((x) => x.id === c),
        'consultation',
      );
      if (step === 'accept') Object.assign(consultation, { accepted_by: by.id, accepted_by_name: by.name });
      if (step === 'start') consultation.room_id = 'demo';
      if (step === 'finish') consultation.report_id = '01J9T1';
      return move(consultation, found(STEPS[step], 'step'), by, body?.reason ?? null);
    },
  ],
  [
    'GET',
    '/api/v1/reports',
    (_, { query }) =>
      page(
        Object.values(data.reports).filter((r) => query.getAll('state').includes(r.state)),
        query.get('cursor'),
      ),
  ],
  ['GET', '/api/v1/reports/:id', ({ id: r }) => found(data.reports[r], 'report')],
  [
    'PUT',
    '/api/v1/reports/:id',
    ({ id: r }, { body, by, headers }) => {
      const report = found(data.reports[r], 'report');
      if (headers['if-match'] !== report.etag)
        throw new Refused(
          412,
          'report-changed',
          `Version ${report.version} was saved by ${report.author.name} after you opened the report.`,
          { current_version: report.version },
        );
      report.sections = body.sections;
      report.key_images = body.key_images;
      return changeReport(report, report.state, by);
    },
  ],
  [
    'GET',
    '/api/v1/reports/:id/versions',
    ({ id: r }) => ({ items: found(data.versions[r], 'report').toReversed(), next_cursor: null }),
  ],
  [
    'GET',
    '/api/v1/reports/:id/pdf',
    () =>
      new Uint8Array(
        Buffer.from(
          '%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj 2 0 obj<</Type/Pages/Kids[]/Count 0>>endobj\ntrailer<</Root 1 0 R>>\n',
        ),
      ),
  ],
  [
    'POST',
    '/api/v1/reports/:id/:step',
    ({ id: r, step }, { body, by }) => {
      const report = found(data.reports[r], 'report');
      switch (step) {
        case 'submit':
          return changeReport(report, 'submitted', by);
        case 'review':
          return changeReport(report, 'in_review', by, { reviewer: by });
        case 'return':
          return changeReport(report, 'returned', by);
        case 'sign':
          if (body.password !== by.id)
            throw new Refused(403, 'signature-refused', 'The password is wrong. The report was not signed.', {
              mend: 'caller',
            });
          return changeReport(report, 'signed', by, {
            signed_by: by,
            signed_at: new Date().toISOString(),
            hash: 'c0ffee92492d2347c6235b4d2611184a1c0f5be3a2d77d9e5f9c0e6d21f4c10a',
          });
        case 'addenda':
          report.addenda.push({
            id: id(),
            text: body.text,
            signed_by: by,
            signed_at: new Date().toISOString(),
            hash: 'adde2d92492d2347c6235b4d2611184a1c0f5be3a2d77d9e5f9c0e6d21f4c10a',
          });
          return report;
        default:
          throw new Refused(404, 'not-found', 'No such step.');
      }
    },
  ],
  [
    'GET',
    '/api/v1/imaging/worklist',
    (_, { query }) => {
      if (process.env.MOCK_ARCHIVE_DOWN)
        throw new Refused(503, 'archive-unavailable', 'The archive does not answer.', { mend: 'retry' });
      const q = (query.get('q') ?? '').toLowerCase();
      const modality = query.get('modality');
      return page(
        data.studies.filter(
          (s) =>
            JSON.stringify(s).toLowerCase().includes(q) &&
            (!modality || s.modalities.includes(modality)) &&
            (!query.get('date_from') || s.study_date >= query.get('date_from')),
        ),
        query.get('cursor'),
      );
    },
  ],
  [
    'GET',
    '/api/v1/imaging/studies/:uid/priors',
    ({ uid }) => ({ next_cursor: null, ...(data.priors[uid] ?? { items: [], consultation_id: null }) }),
  ],
  [
    'GET',
    '/dicomweb/studies',
    (_, { query }) =>
      data.studies
        .filter((s) => s.study_uid === query.get('StudyInstanceUID'))
        .map((s) => ({ '0020000D': { vr: 'UI', Value: [s.study_uid] } })),
  ],
  ['GET', '/api/v1/sites', () => ({ items: data.sites, next_cursor: null })],
  [
    'POST',
    '/api/v1/sites',
    (_, { body }) => {
      const site = {
        id: id(),
        name: body.name,
        state: 'pending',
        online: false,
        last_seen: null,
        version: null,
        clock_offset_ms: null,
        rooms: [],
        devices: [],
        spool: { unacknowledged: 0, bytes: 0 },
      };
      data.sites.push(site);
      return { ...site, enrolment_code: 'K7QM2ZX9RT' };
    },
  ],
  ['POST', '/api/v1/sites/:id/enrolment-codes', () => ({ enrolment_code: 'P3WD8HNA6C' })],
  [
    'POST',
    '/api/v1/sites/:id/revoke',
    ({ id: s }) =>
      Object.assign(
        found(
          data.sites.find((x) => x.id === s),
          'site',
        ),
        { state: 'revoked', online: false },
      ),
  ],
  ['POST', '/api/v1/sites/:id/commands', ({ id: s }, { body }) => ({ id: id(), site_id: s, state: 'queued', ...body })],
  [
    'GET',
    '/api/v1/ingest/quarantine',
    (_, { query }) =>
      page(
        data.held.filter(
          (one) =>
            one.state === query.get('state') && (!query.get('study_uid') || one.study_uid === query.get('study_uid')),
        ),
        query.get('cursor'),
        5,
      ),
  ],
  ['GET', '/api/v1/ingest/quarantine/:id', ({ id: entry }) => heldEntry(entry)],
  ['POST', '/api/v1/ingest/quarantine/:id/release', ({ id: e }, { body, by }) => decide(e, body, by, 'released')],
  ['POST', '/api/v1/ingest/quarantine/:id/reject', ({ id: e }, { body, by }) => decide(e, body, by, 'rejected')],
  [
    'POST',
    '/api/v1/ingest/quarantine/:id/identity',
    ({ id: e }, { body: { version, reason, ...changes }, by }) => {
      const entry = heldEntry(e, version);
      const shown = { patient_id: entry.identity.patient_id, patient_name: entry.identity.patient_name };
      const difference = { mended: [entry.findings[0]], new: [], kept: [entry.findings[1]] };
      const at = new Date().toISOString();
      entry.proposal = { by: by.id, name: by.name, at, reason, changes, shown, verdict: 'accept', difference };
      for (const fact of entry.comparison.facts) fact.proposed = changes[fact.field] ?? null;
      const proposal_digest = JSON.stringify(changes);
      return Object.assign(entry, { proposed_by: by.id, proposal_digest, version: entry.version + 1 });
    },
  ],
  [
    'DELETE',
    '/api/v1/ingest/quarantine/:id/identity',
    ({ id: e }, { query }) => {
      const entry = heldEntry(e, Number(query.get('version')));
      for (const fact of entry.comparison.facts) fact.proposed = null;
      return Object.assign(entry, {
        proposal: null,
        proposed_by: null,
        proposal_digest: null,
        version: entry.version + 1,
      });
    },
  ],
  [
    'GET',
    '/api/v1/audit',
    (_, { query }) =>
      page(
        data.audit.filter((e) =>
          ['actor', 'action', 'patient_id', 'outcome'].every(
            (key) => !query.get(key) || String(e[key] ?? '').includes(query.get(key)),
          ),
        ),
        query.get('cursor'),
        50,
      ),
  ],
  [
    'GET',
    '/api/v1/audit/verify',
    () =>
      process.env.MOCK_BROKEN_CHAIN
        ? { ok: false, entries: 1140, first_bad_seq: 1093 }
        : { ok: true, entries: 1140, first_bad_seq: null },
  ],
];

function match(method, path) {
  for (const [verb, pattern, answer] of routes) {
    if (verb !== method) continue;
    const names = pattern.split('/');
    const parts = path.split('/');
    if (names.length !== parts.length || !names.every((name, n) => name.startsWith(':') || name === parts[n])) continue;
    return [
      answer,
      Object.fromEntries(
        names.flatMap((name, n) => (name.startsWith(':') ? [[name.slice(1), decodeURIComponent(parts[n])]] : [])),
      ),
    ];
  }
  throw new Refused(404, 'not-found', `Nothing answers ${method} ${path}.`);
}

function send(response, status, value, headers = {}) {
  if (value instanceof Uint8Array)
    return response.writeHead(status, { 'content-type': 'application/pdf', ...headers }).end(value);
  const tag = value?.etag ? { etag: value.etag } : {};
  response.writeHead(status, {
    'content-type': status >= 400 ? 'application/problem+json' : 'application/json',
    ...tag,
    ...headers,
  });
  return response.end(value === null ? '' : JSON.stringify(value));
}

function handleSession(request, response, body) {
  if (request.method === 'DELETE') {
    return response.writeHead(204, { 'set-cookie': `${COOKIE}; Max-Age=0` }).end();
  }
  if (request.url.endsWith('/refresh')) {
    const signedIn = /consilium_refresh=(\w+)/.exec(request.headers.cookie ?? '')?.[1];
    if (!data.users[signedIn]) throw new Refused(401, 'unauthenticated', 'Nobody is signed in on this browser.');
    return send(response, 200, session(signedIn));
  }
  if (!data.users[body.username] || body.password !== body.username)
    throw new Refused(401, 'wrong-password', 'The user name or the password is wrong.', { mend: 'caller' });
  return send(response, 200, session(body.username), { 'set-cookie': COOKIE.replace('=', `=${body.username}`) });
}

async function handleApi(request, response, url) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const body = chunks.length ? JSON.parse(Buffer.concat(chunks).toString()) : null;
  if (slow) await new Promise((resolve) => setTimeout(resolve, slow));
  if (url.pathname.startsWith('/api/v1/session')) return handleSession(request, response, body);
  const name = /^Bearer mock\.(\w+)$/.exec(request.headers.authorization ?? '')?.[1];
  if (!name && url.pathname !== '/api/v1/info') throw new Refused(401, 'unauthenticated', 'Sign in first.');
  if (url.pathname === '/api/v1/events') {
    response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
    response.write(': hello\n\n');
    streams.add(response);
    return request.on('close', () => streams.delete(response));
  }
  const [answer, parameters] = match(request.method, url.pathname);
  const value = answer(parameters, {
    query: url.searchParams,
    body,
    by: { id: name, name: data.users[name] },
    headers: request.headers,
  });
  return send(
    response,
    request.method === 'POST' ? 201 : 200,
    process.env.MOCK_EMPTY && value?.items ? { items: [], next_cursor: null } : value,
  );
}

async function handleFile(response, url) {
  const path = normalize(url.pathname);
  const name = TYPES[extname(path)] ? path : '/index.html'; // a UID in an address is no file
  try {
    const bytes = await readFile(join(dist, name));
    response
      .writeHead(200, {
        'content-type': TYPES[extname(name)] ?? 'application/octet-stream',
        'content-security-policy': CSP,
        'x-content-type-options': 'nosniff',
      })
      .end(bytes);
  } catch {
    response.writeHead(404).end();
  }
}

const server = createServer((request, response) => {
  const url = new URL(request.url, 'http://mock');
  const work = /^\/(api|dicomweb)\//.test(url.pathname) ? handleApi(request, response, url) : handleFile(response, url);
  Promise.resolve(work).catch((error) => {
    const refused = error instanceof Refused ? error : new Refused(500, 'internal', String(error));
    send(response, refused.status, {
      type: 'about:blank',
      title: refused.code,
      status: refused.status,
      detail: refused.message,
      code: refused.code,
      instance: `urn:consilium:problem:${id()}`,
      ...refused.facts,
    });
  });
});
server.listen(Number(process.env.MOCK_PORT ?? 0), '127.0.0.1', () =>
  console.log(`http://127.0.0.1:${server.address().port}`),
);
setInterval(() => {
  for (const stream of streams) stream.write(': keep-alive\n\n');
}, 15_000).unref();
