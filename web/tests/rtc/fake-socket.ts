/** A WebSocket whose other end is the test. */
import type { SocketLike } from '@/lib/rtc/signalling';

export class FakeSocket implements SocketLike {
  onopen: ((event: Event) => void) | null = null;
  onmessage: ((event: MessageEvent) => void) | null = null;
  onclose: ((event: CloseEvent) => void) | null = null;
  readyState = 0;
  bufferedAmount = 0;
  sent: Record<string, unknown>[] = [];
  closedWith: number | undefined;

  constructor(
    readonly url: string,
    readonly protocol: string,
  ) {}

  send(data: string): void {
    this.sent.push(JSON.parse(data) as Record<string, unknown>);
  }

  close(code?: number): void {
    this.closedWith = code;
    this.readyState = 3;
  }

  open(): void {
    this.readyState = 1;
    this.onopen?.(new Event('open'));
  }

  tell(message: Record<string, unknown>): void {
    this.onmessage?.(new MessageEvent('message', { data: JSON.stringify(message) }));
  }

  drop(code: number): void {
    this.readyState = 3;
    this.onclose?.({ code } as CloseEvent);
  }

  types(): unknown[] {
    return this.sent.map((message) => message['type']);
  }
}

export function jwt(exp_s: number): string {
  return `x.${btoa(JSON.stringify({ exp: exp_s })).replaceAll('=', '')}.y`;
}

export const WELCOME = {
  type: 'welcome',
  self: {
    id: 'p1',
    user_id: 'u1',
    name: 'A',
    role: 'specialist',
    color: '#fff',
    audio: false,
    video: false,
    joined_at: '2026-01-01T00:00:00Z',
  },
  room: { id: 'demo', title: 'Demo' },
  participants: [],
  tracks: [],
  strokes: [],
  chat: [],
  frame_maps: [],
  ice_servers: [],
  server_time: '2026-01-01T00:00:00Z',
  session_id: 's1',
};
