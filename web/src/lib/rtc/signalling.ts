/**
 * The room's WebSocket: hello, token refresh, ping, request/answer by id, and reconnection with back-off.
 *
 * Frames go out as ClientMessage and come in as ServerMessage. The link owns its socket and its timers; `close()`
 * ends both. Close codes (RS-02, RS-25, RS-31) decide whether another try makes sense.
 */
import type { ClientMessage, Codec, Published, ServerMessage, Subscribed, Welcome } from './messages';

export type EndReason = 'left' | 'ended' | 'denied' | 'missing' | 'full' | 'signed-out' | 'refused';

export type LinkState =
  | { kind: 'connecting'; attempt: number }
  | { kind: 'open' }
  | { kind: 'waiting'; attempt: number; retry_at_ms: number }
  | { kind: 'over'; reason: EndReason; code: number };

/** What the link needs of a WebSocket; a test gives its own. */
export interface SocketLike {
  onopen: ((event: Event) => void) | null;
  onmessage: ((event: MessageEvent) => void) | null;
  onclose: ((event: CloseEvent) => void) | null;
  readonly readyState: number;
  readonly bufferedAmount: number;
  send(data: string): void;
  close(code?: number): void;
}

export interface LinkOptions {
  url: string;
  client: { kind: 'desktop' | 'phone'; codecs: Codec[] };
  /** A valid access token; `fresh` asks for one that was not used before. Null when nobody is signed in. */
  token(fresh: boolean): Promise<string | null>;
  onMessage(message: ServerMessage): void;
  onState(state: LinkState): void;
  open?: (url: string, protocol: string) => SocketLike;
  random?: () => number;
}

export const PROTOCOL = 'consilium.room.v1';
const PING_MS = 4_000;
const SILENCE_MS = 12_000;
const ANSWER_MS = 10_000;
const BACKOFF_MS = [200, 500, 1_000, 2_000, 4_000];
const OPEN = 1;

/** Thrown by `ask` when the server refuses a request or the link breaks before its answer. */
export class RoomRefused extends Error {
  constructor(
    readonly code: string,
    detail: string,
  ) {
    super(detail);
    this.name = 'RoomRefused';
  }
}

interface Pending {
  resolve(answer: Subscribed | Published): void;
  reject(error: RoomRefused): void;
  timer: ReturnType<typeof setTimeout>;
}

/** Say what a close code means for the next step: an end, or null to try again. */
export function endOf(code: number): EndReason | null {
  switch (code) {
    case 4403:
      return 'denied';
    case 4404:
      return 'missing';
    case 4410:
      return 'ended';
    case 4429:
      return 'full';
    case 4400:
      return 'refused';
    default:
      return null;
  }
}

/** Milliseconds to wait before try number `attempt` (from 1), with up to 25 % jitter taken off. */
export function backoff(attempt: number, random: number): number {
  const base = BACKOFF_MS[Math.min(attempt - 1, BACKOFF_MS.length - 1)] ?? 4_000;
  return Math.round(base * (1 - 0.25 * random));
}

/** Seconds since the epoch at which a token ends (its `exp` claim), or null when it cannot be read. */
export function tokenExpiry(token: string): number | null {
  try {
    const part = (token.split('.')[1] ?? '').replace(/-/g, '+').replace(/_/g, '/');
    const claims = JSON.parse(atob(part)) as { exp?: unknown };
    return typeof claims.exp === 'number' ? claims.exp : null;
  } catch {
    return null;
  }
}

export class RoomLink {
  private socket: SocketLike | null = null;
  private attempt = 0;
  private refused401 = 0;
  private over = false;
  private heard = 0;
  private pinger: ReturnType<typeof setInterval> | undefined;
  private retry: ReturnType<typeof setTimeout> | undefined;
  private renewal: ReturnType<typeof setTimeout> | undefined;
  private pending = new Map<string, Pending>();
  private next = 1;
  private bestRtt = Infinity;
  /** Server clock minus ours, in milliseconds; from the round trip with the least delay (RS-30). */
  offset_ms = 0;
  rtt_ms: number | null = null;

  constructor(private readonly options: LinkOptions) {}

  start(): void {
    this.over = false;
    void this.connect(false);
  }

  /** Try at once instead of waiting for the back-off (the network came back, the page is visible again). */
  retryNow(): void {
    if (this.over || this.socket) return;
    clearTimeout(this.retry);
    void this.connect(false);
  }

  get isOpen(): boolean {
    return this.socket?.readyState === OPEN;
  }

  /** Bytes that wait in the browser's send buffer: lasers are dropped when it is not empty. */
  get backlog(): number {
    return this.socket?.bufferedAmount ?? 0;
  }

  /** Send a frame; false when the link is not open (the caller decides whether that matters). */
  send(message: ClientMessage): boolean {
    if (!this.socket || this.socket.readyState !== OPEN) return false;
    this.socket.send(JSON.stringify(message));
    return true;
  }

  subscribe(sdp: string, tracks: Record<string, string>): Promise<Subscribed> {
    return this.ask((id) => ({ type: 'subscribe', id, sdp, tracks })) as Promise<Subscribed>;
  }

  publish(sdp: string, sources: Record<string, 'microphone' | 'camera'>): Promise<Published> {
    return this.ask((id) => ({ type: 'publish', id, sdp, sources })) as Promise<Published>;
  }

  /** Leave for good: tell the server (RS-04), then close. Safe to call twice. */
  close(): void {
    if (this.over) return;
    this.send({ type: 'leave' });
    this.end('left', 1000);
  }

  private ask(make: (id: string) => ClientMessage): Promise<Subscribed | Published> {
    const id = `r${this.next++}`;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.pending.delete(id);
        reject(new RoomRefused('timeout', `no answer within ${ANSWER_MS / 1000} s`));
      }, ANSWER_MS);
      this.pending.set(id, { resolve, reject, timer });
      if (!this.send(make(id))) this.settle(id)?.reject(new RoomRefused('offline', 'the room is not connected'));
    });
  }

  private settle(id: string): Pending | undefined {
    const pending = this.pending.get(id);
    if (pending) clearTimeout(pending.timer);
    this.pending.delete(id);
    return pending;
  }

  private async connect(fresh: boolean): Promise<void> {
    this.options.onState({ kind: 'connecting', attempt: this.attempt });
    const token = await this.options.token(fresh).catch(() => undefined);
    if (this.over) return;
    if (token === null) return this.end('signed-out', 4401);
    if (token === undefined) return this.wait();
    const open = this.options.open ?? ((url, protocol) => new WebSocket(url, protocol) as SocketLike);
    const socket = open(this.options.url, PROTOCOL);
    this.socket = socket;
    socket.onopen = () => {
      this.heard = Date.now();
      this.send({ type: 'hello', token, client: this.options.client });
      this.renewAt(token);
      clearInterval(this.pinger);
      this.pinger = setInterval(() => this.beat(socket), PING_MS);
    };
    socket.onmessage = (event) => this.receive(String(event.data));
    socket.onclose = (event) => this.closed(socket, event.code);
  }

  private beat(socket: SocketLike): void {
    if (Date.now() - this.heard > SILENCE_MS) {
      socket.close();
      this.closed(socket, 1006); // a dead network never fires onclose by itself
      return;
    }
    this.send({ type: 'ping', t: Date.now() });
  }

  private receive(text: string): void {
    this.heard = Date.now();
    let message: ServerMessage;
    try {
      message = JSON.parse(text) as ServerMessage;
    } catch {
      return;
    }
    switch (message.type) {
      case 'welcome':
        this.welcomed(message);
        break;
      case 'pong':
        this.measure(message.t, message.server_time_us);
        return;
      case 'subscribed':
      case 'published':
        this.settle(message.id)?.resolve(message);
        return;
      case 'error':
        if (message.id) this.settle(message.id)?.reject(new RoomRefused(message.code, message.detail));
        break;
      default:
        break;
    }
    this.options.onMessage(message);
  }

  private welcomed(welcome: Welcome): void {
    this.attempt = 0;
    this.refused401 = 0;
    this.bestRtt = Infinity;
    this.offset_ms = Date.parse(welcome.server_time) - Date.now();
    this.send({ type: 'ping', t: Date.now() });
    this.options.onState({ kind: 'open' });
  }

  private measure(sent_ms: number, server_us: number): void {
    const now = Date.now();
    const rtt = Math.max(0, now - sent_ms);
    this.rtt_ms = rtt;
    this.bestRtt += 0.5; // let an old best fade, so that a drifting clock is followed
    if (rtt > this.bestRtt) return;
    this.bestRtt = rtt;
    this.offset_ms = server_us / 1000 - (sent_ms + rtt / 2);
  }

  private renewAt(token: string): void {
    clearTimeout(this.renewal);
    const expiry = tokenExpiry(token);
    if (expiry === null) return;
    const left = expiry * 1000 - Date.now();
    this.renewal = setTimeout(() => void this.renew(token), Math.max(1_000, left - 45_000, left / 2));
  }

  private async renew(old: string): Promise<void> {
    const token = await this.options.token(true).catch(() => undefined);
    if (this.over || !token) return;
    if (token !== old) this.send({ type: 'token', token });
    this.renewAt(token);
  }

  private closed(socket: SocketLike, code: number): void {
    if (socket !== this.socket || this.over) return;
    this.drop();
    const end = endOf(code);
    if (end) return this.end(end, code);
    if (code === 4401) {
      this.refused401 += 1;
      if (this.refused401 > 1) return this.end('signed-out', code);
      void this.connect(true);
      return;
    }
    this.wait();
  }

  private wait(): void {
    this.attempt += 1;
    const delay = backoff(this.attempt, (this.options.random ?? Math.random)());
    this.options.onState({ kind: 'waiting', attempt: this.attempt, retry_at_ms: Date.now() + delay });
    this.retry = setTimeout(() => void this.connect(false), delay);
  }

  private drop(): void {
    clearInterval(this.pinger);
    clearTimeout(this.renewal);
    this.socket = null;
    for (const id of [...this.pending.keys()]) {
      this.settle(id)?.reject(new RoomRefused('offline', 'the connection to the room was lost'));
    }
  }

  private end(reason: EndReason, code: number): void {
    this.over = true;
    const socket = this.socket;
    clearTimeout(this.retry);
    this.drop();
    socket?.close(1000);
    this.options.onState({ kind: 'over', reason, code });
  }
}
