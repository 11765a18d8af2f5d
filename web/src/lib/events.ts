/**
 * The server's events, read as Server-Sent Events over fetch (EventSource cannot send the bearer header).
 * One connection per page, opened by the first listener. It reconnects with back-off and jitter; after each
 * reconnection the listeners get `null`: something may have been missed, fetch again.
 */
import { signal } from '@preact/signals';
import type { ServerEvent } from '@/protocol/types';
import { refresh, token } from './auth';

export type LinkState = 'idle' | 'connecting' | 'open' | 'waiting';
type Listener = (event: ServerEvent | null) => void;

/** How the page stands with the event stream; the top bar shows it. */
export const link = signal<LinkState>('idle');

const SILENCE_MS = 40_000; // the server writes a comment every 15 s
const FIRST_DELAY_MS = 1_000;
const LONGEST_DELAY_MS = 30_000;

const listeners = new Set<Listener>();
let running: AbortController | null = null;

/** Split a growing text into complete SSE messages; returns them with the unfinished rest. */
export function parseEventStream(buffer: string): { messages: string[]; rest: string } {
  const blocks = buffer.replace(/\r\n?/g, '\n').split('\n\n');
  const rest = blocks.pop() ?? '';
  const messages = blocks
    .map((block) =>
      block
        .split('\n')
        .filter((line) => line.startsWith('data:'))
        .map((line) => line.slice(5).replace(/^ /, ''))
        .join('\n'),
    )
    .filter((data) => data !== '');
  return { messages, rest };
}

function tell(event: ServerEvent | null): void {
  for (const listener of [...listeners]) listener(event);
}

async function readOnce(stop: AbortSignal): Promise<void> {
  const silence = new AbortController();
  let timer = setTimeout(() => silence.abort(), SILENCE_MS);
  const bearer = token();
  try {
    const response = await fetch('/api/v1/events', {
      headers: { accept: 'text/event-stream', ...(bearer ? { authorization: `Bearer ${bearer}` } : {}) },
      signal: AbortSignal.any([stop, silence.signal]),
    });
    if (response.status === 401) await refresh();
    if (!response.ok || !response.body) throw new Error(`events: ${response.status}`);
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let buffer = '';
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      if (link.value !== 'open') {
        link.value = 'open'; // the first comment comes when the server listens for us: from here on nothing is missed
        tell(null);
      }
      clearTimeout(timer);
      timer = setTimeout(() => silence.abort(), SILENCE_MS);
      const parsed = parseEventStream(buffer + value);
      buffer = parsed.rest;
      for (const message of parsed.messages) tell(JSON.parse(message) as ServerEvent);
    }
  } finally {
    clearTimeout(timer);
  }
}

function pause(ms: number, stop: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      removeEventListener('online', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    addEventListener('online', done, { once: true });
    stop.addEventListener('abort', done, { once: true });
  });
}

async function keepReading(stop: AbortSignal): Promise<void> {
  let delay = FIRST_DELAY_MS;
  while (!stop.aborted) {
    link.value = 'connecting';
    const started = Date.now();
    try {
      await readOnce(stop);
    } catch {
      // Any failure means the same here: the link is down, wait, connect again and fetch anew.
    }
    if (stop.aborted) break;
    link.value = 'waiting';
    delay = Date.now() - started > SILENCE_MS ? FIRST_DELAY_MS : Math.min(delay * 1.7, LONGEST_DELAY_MS);
    await pause(delay * (0.7 + Math.random() * 0.6), stop);
  }
  link.value = 'idle';
}

/** Listen to events; returns the way to stop. The connection ends with its last listener. */
export function listen(listener: Listener): () => void {
  listeners.add(listener);
  if (!running) {
    running = new AbortController();
    void keepReading(running.signal);
  }
  return () => {
    listeners.delete(listener);
    if (listeners.size > 0) return;
    running?.abort();
    running = null;
  };
}
