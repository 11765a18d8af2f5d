/**
 * The one door from the page to the REST API: bearer header, timeout, one refresh after a 401, problems as ApiError.
 * Paths are absolute on the page's own origin (`/api/v1/...`, `/dicomweb/...`).
 */
import { refresh, token } from './auth';
import { ApiError, classify, readProblem } from './problem';

export interface RequestOptions {
  signal?: AbortSignal | undefined;
  headers?: Record<string, string> | undefined;
  timeout_s?: number | undefined;
}

/** A JSON answer with the entity tag it came with. */
export interface Tagged<T> {
  value: T;
  etag: string | null;
}

const DEFAULT_TIMEOUT_S = 20;

async function once(
  method: string,
  path: string,
  body: BodyInit | undefined,
  options: RequestOptions,
): Promise<Response> {
  const after_s = options.timeout_s ?? DEFAULT_TIMEOUT_S;
  const timeout = AbortSignal.timeout(after_s * 1000);
  const bearer = token();
  const init: RequestInit = {
    method,
    headers: { ...(bearer ? { authorization: `Bearer ${bearer}` } : {}), ...options.headers },
    signal: options.signal ? AbortSignal.any([options.signal, timeout]) : timeout,
  };
  if (body !== undefined) init.body = body;
  try {
    return await fetch(path, init);
  } catch (error) {
    if (options.signal?.aborted) throw error;
    if (timeout.aborted) throw new ApiError({ kind: 'timeout', after_s });
    throw new ApiError({ kind: 'offline' });
  }
}

/** Send a request; a 401 is answered once by a refresh. Throws ApiError for everything that is not 2xx. */
export async function request(
  method: string,
  path: string,
  body?: BodyInit,
  options: RequestOptions = {},
): Promise<Response> {
  let response = await once(method, path, body, options);
  if (response.status === 401 && (await refresh())) response = await once(method, path, body, options);
  if (response.ok) return response;
  const document: unknown = await response.json().catch(() => null);
  throw new ApiError(classify(readProblem(response.status, document), response.headers.get('retry-after')));
}

async function json<T>(method: string, path: string, value: unknown, options: RequestOptions = {}): Promise<Tagged<T>> {
  const headers: Record<string, string> = { accept: 'application/json', ...options.headers };
  if (value !== undefined) headers['content-type'] = 'application/json';
  const body = value === undefined ? undefined : JSON.stringify(value);
  const response = await request(method, path, body, { ...options, headers });
  const text = await response.text();
  return { value: (text === '' ? null : JSON.parse(text)) as T, etag: response.headers.get('etag') };
}

export const api = {
  get: async <T>(path: string, options?: RequestOptions): Promise<T> =>
    (await json<T>('GET', path, undefined, options)).value,
  post: async <T>(path: string, value?: unknown, options?: RequestOptions): Promise<T> =>
    (await json<T>('POST', path, value, options)).value,
  put: async <T>(path: string, value: unknown, options?: RequestOptions): Promise<T> =>
    (await json<T>('PUT', path, value, options)).value,
  delete: async <T>(path: string, options?: RequestOptions): Promise<T> =>
    (await json<T>('DELETE', path, undefined, options)).value,
  /** Like get/put, with the answer's ETag. */
  getTagged: <T>(path: string, options?: RequestOptions): Promise<Tagged<T>> =>
    json<T>('GET', path, undefined, options),
  putTagged: <T>(path: string, value: unknown, etag: string, options: RequestOptions = {}): Promise<Tagged<T>> =>
    json<T>('PUT', path, value, { ...options, headers: { ...options.headers, 'if-match': etag } }),
};

/** Fetch bytes with the bearer header (images, PDF); the caller owns any object URL it makes of them. */
export async function fetchBlob(path: string, options: RequestOptions = {}): Promise<Blob> {
  return (await request('GET', path, undefined, { timeout_s: 60, ...options })).blob();
}

/** Build a path with a query string, leaving out what is empty. */
export function withQuery(path: string, query: Record<string, string | number | null | undefined>): string {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== null && value !== undefined && value !== '') parameters.set(name, String(value));
  }
  const text = parameters.toString();
  if (text === '') return path;
  return `${path}${path.includes('?') ? '&' : '?'}${text}`;
}
