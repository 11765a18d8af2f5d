/**
 * Who is signed in. The access token lives in memory only; the refresh cookie (HttpOnly) brings it back on load
 * and before it expires. One refresh at a time, whoever asks.
 */
import { computed, signal } from '@preact/signals';
import type { Session, User } from '@/protocol/types';
import { ApiError, classify, readProblem } from './problem';

type AuthState =
  | { kind: 'unknown' } // before the first refresh has answered
  | { kind: 'out'; reason: 'signed-out' | 'expired' | 'none' }
  | { kind: 'in'; token: string; user: User; expiresAt: number };

const REFRESH_EARLY_MS = 60_000;
/** Cookie requests carry what another origin cannot send. */
const OURS = { 'x-requested-by': 'consilium' };

export const auth = signal<AuthState>({ kind: 'unknown' });
export const user = computed<User | null>(() => (auth.value.kind === 'in' ? auth.value.user : null));

let timer: ReturnType<typeof setTimeout> | undefined;
let refreshing: Promise<boolean> | null = null;

/** The current access token, or null when nobody is signed in. */
export function token(): string | null {
  return auth.value.kind === 'in' ? auth.value.token : null;
}

function accept(session: Session): void {
  const lifetime = session.expires_in_s * 1000;
  auth.value = { kind: 'in', token: session.access_token, user: session.user, expiresAt: Date.now() + lifetime };
  clearTimeout(timer);
  timer = setTimeout(() => void refresh(), Math.max(lifetime - REFRESH_EARLY_MS, lifetime / 2));
}

async function ask(path: string, init: RequestInit): Promise<Response> {
  try {
    return await fetch(path, { credentials: 'same-origin', signal: AbortSignal.timeout(15_000), ...init });
  } catch (error) {
    if (error instanceof DOMException && error.name === 'TimeoutError') {
      throw new ApiError({ kind: 'timeout', after_s: 15 });
    }
    throw new ApiError({ kind: 'offline' });
  }
}

async function refuse(response: Response): Promise<never> {
  const body: unknown = await response.json().catch(() => null);
  throw new ApiError(classify(readProblem(response.status, body), response.headers.get('retry-after')));
}

/** Sign in with a user name and password; throws ApiError when refused. */
export async function signIn(username: string, password: string): Promise<void> {
  const response = await ask('/api/v1/session', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ username, password }),
  });
  if (!response.ok) await refuse(response);
  accept((await response.json()) as Session);
}

async function refreshOnce(): Promise<boolean> {
  const before = auth.value.kind;
  const response = await ask('/api/v1/session/refresh', { method: 'POST', headers: OURS });
  if (response.ok) {
    accept((await response.json()) as Session);
    return true;
  }
  if (response.status === 401 || response.status === 403) {
    clearTimeout(timer);
    auth.value = { kind: 'out', reason: before === 'in' ? 'expired' : 'none' };
    return false;
  }
  return refuse(response);
}

/**
 * Get a fresh token by the cookie. True when signed in, false when the server says nobody is.
 * A server that does not answer leaves the state as it is (and throws only before the first answer).
 */
export function refresh(): Promise<boolean> {
  refreshing ??= refreshOnce()
    .catch((error: unknown) => {
      if (auth.value.kind !== 'in') throw error;
      clearTimeout(timer);
      timer = setTimeout(() => void refresh(), 10_000);
      return false;
    })
    .finally(() => {
      refreshing = null;
    });
  return refreshing;
}

/**
 * Sign out at the server, then here. When the server cannot be reached or refuses, the cookie still signs this browser
 * in: nothing is claimed, the state stays, and an ApiError is thrown.
 */
export async function signOut(): Promise<void> {
  const bearer = token();
  const response = await ask('/api/v1/session', {
    method: 'DELETE',
    headers: { ...OURS, ...(bearer ? { authorization: `Bearer ${bearer}` } : {}) },
  });
  if (!response.ok && response.status !== 401) await refuse(response); // 401: the session had ended already
  clearTimeout(timer);
  auth.value = { kind: 'out', reason: 'signed-out' };
}
