/** What can go wrong between the page and the server, as one tagged union: every screen has words for each. */
export type Mend = 'caller' | 'operator' | 'admin' | 'retry' | 'vendor';

/** An RFC 9457 problem document; `facts` holds its extension members. */
export interface ProblemDocument {
  type: string;
  title: string;
  status: number;
  detail: string;
  code: string;
  instance?: string | undefined;
  mend?: Mend | undefined;
  facts: Record<string, unknown>;
}

export type Problem =
  | { kind: 'offline' } // the request never reached a server
  | { kind: 'timeout'; after_s: number }
  | { kind: 'unauthenticated'; problem: ProblemDocument }
  | { kind: 'denied'; problem: ProblemDocument }
  | { kind: 'missing'; problem: ProblemDocument } // 404, 410
  | { kind: 'conflict'; problem: ProblemDocument } // 409, 412
  | { kind: 'invalid'; problem: ProblemDocument }
  | { kind: 'busy'; problem: ProblemDocument; retry_after_s: number } // 429, 503
  | { kind: 'server'; problem: ProblemDocument };

/** Thrown by the API helpers; carries the tagged problem. */
export class ApiError extends Error {
  constructor(readonly problem: Problem) {
    super('problem' in problem ? problem.problem.detail : problem.kind);
    this.name = 'ApiError';
  }
}

const KNOWN = new Set(['type', 'title', 'status', 'detail', 'code', 'instance', 'mend']);

function text(value: unknown, fallback: string): string {
  return typeof value === 'string' && value !== '' ? value : fallback;
}

/** Read a problem document from any JSON body, filling what a foreign server left out. */
export function readProblem(status: number, body: unknown): ProblemDocument {
  const source = typeof body === 'object' && body !== null ? (body as Record<string, unknown>) : {};
  return {
    type: text(source['type'], 'about:blank'),
    title: text(source['title'], `HTTP ${status}`),
    status,
    detail: text(source['detail'], text(source['title'], `HTTP ${status}`)),
    code: text(source['code'], `http-${status}`),
    instance: typeof source['instance'] === 'string' ? source['instance'] : undefined,
    mend: source['mend'] as Mend | undefined,
    facts: Object.fromEntries(Object.entries(source).filter(([key]) => !KNOWN.has(key))),
  };
}

/** Sort a refused response into the union. */
export function classify(problem: ProblemDocument, retryAfter: string | null): Problem {
  switch (problem.status) {
    case 401:
      return { kind: 'unauthenticated', problem };
    case 403:
      return { kind: 'denied', problem };
    case 404:
    case 410:
      return { kind: 'missing', problem };
    case 409:
    case 412:
    case 428:
      return { kind: 'conflict', problem };
    case 429:
    case 503: {
      const seconds = Number(retryAfter ?? problem.facts['retry_after_s'] ?? 5);
      return { kind: 'busy', problem, retry_after_s: Number.isFinite(seconds) ? seconds : 5 };
    }
    default:
      return problem.status < 500 ? { kind: 'invalid', problem } : { kind: 'server', problem };
  }
}

/** Any thrown value as a problem: what is not ours becomes `offline` when the network failed, else rethrows. */
export function asProblem(error: unknown): Problem {
  if (error instanceof ApiError) return error.problem;
  if (error instanceof TypeError) return { kind: 'offline' };
  throw error;
}

/** Short reference that a person can read out to support. */
export function reference(problem: Problem): string | null {
  if (!('problem' in problem)) return null;
  const instance = problem.problem.instance;
  return instance ? (instance.split(/[/:]/).pop() ?? instance) : null;
}
