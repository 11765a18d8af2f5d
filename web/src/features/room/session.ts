/**
 * One person's stay in a room: the link, the two media connections, and everything the screen reads as signals.
 *
 * Messages come in by the link and change signals or the stroke book; the person's acts go out. It owns the link, the
 * subscriber, the publisher and the timers; `leave()` (or `dispose()`) ends them all. 60 Hz data (strokes, lasers,
 * presented frames) stays outside signals and is drawn on the canvas.
 */
import { computed, signal } from '@preact/signals';
import { api } from '@/lib/api';
import { auth, refresh, token } from '@/lib/auth';
import { decodableCodecs } from '@/lib/rtc/capabilities';
import { FrameClock } from '@/lib/rtc/frame-clock';
import type {
  Capture,
  CaptureKind,
  Chat,
  FrameRef,
  Laser,
  LiveRoom,
  Participant,
  PictureSize,
  ServerMessage,
  StrokeDraft,
  Track,
  Welcome,
} from '@/lib/rtc/messages';
import { Publisher, type Source } from '@/lib/rtc/publisher';
import { RoomLink, type LinkState } from '@/lib/rtc/signalling';
import { StrokeBook } from '@/lib/rtc/strokes';
import { Subscriber } from '@/lib/rtc/subscriber';
import { chooseTracks } from '@/lib/rtc/tracks';
import { captureBlock, type Standing } from './standing';

export interface LaserDot {
  track_id: string;
  x: number;
  y: number;
  picture?: PictureSize | undefined;
  color: string;
  name: string;
  at_ms: number;
}

export type SendFault = { kind: 'refused'; source: Source } | { kind: 'failed'; reason: string };

const LEVEL_MS = 200;
const MOST_USED_UP = 12;
const CAMERAS = { desktop: 6, phone: 2 };

export class RoomSession {
  readonly link = signal<LinkState>({ kind: 'connecting', attempt: 0 });
  readonly media = signal<RTCPeerConnectionState>('new');
  readonly room = signal<LiveRoom | null>(null);
  readonly self = signal<Participant | null>(null);
  readonly people = signal<Participant[]>([]);
  readonly tracks = signal<Track[]>([]);
  readonly receivers = signal<ReadonlyMap<string, RTCRtpReceiver>>(new Map());
  readonly chat = signal<Chat[]>([]);
  readonly captures = signal<Capture[]>([]);
  readonly microphone = signal(false);
  readonly camera = signal<MediaStreamTrack | null>(null);
  readonly busy = signal<Source | null>(null);
  readonly fault = signal<SendFault | null>(null);
  readonly refusal = signal<{ code: string; detail: string } | null>(null);
  /** Ids of the participants that speak now. */
  readonly speaking = signal<ReadonlySet<string>>(new Set());
  readonly unanswerable = signal<ReadonlySet<string>>(new Set());

  /** The examination's picture: the modality track that this browser receives, or else the first there is. */
  readonly primary = computed<Track | null>(() => {
    const pictures = this.tracks.value.filter(
      (track) => track.source === 'modality' && track.kind === 'video' && track.state !== 'ended',
    );
    return pictures.find((track) => this.receivers.value.has(track.id)) ?? pictures[0] ?? null;
  });

  /** How the picture stands; the stage tells. */
  readonly standing = signal<Standing['kind']>('connecting');
  /** The word that says why nothing can be captured now, or null. */
  readonly captureBlock = computed(() => captureBlock(this.standing.value, this.primary.value));

  readonly clock = new FrameClock();
  readonly strokes = new StrokeBook();
  readonly lasers = new Map<string, LaserDot>();
  /** Called when something on the canvas changed. */
  onCanvas: () => void = () => undefined;

  private readonly wire: RoomLink;
  private subscriber: Subscriber | null = null;
  private publisher: Publisher | null = null;
  private iceServers: RTCIceServer[] = [];
  private levels: ReturnType<typeof setInterval> | undefined;
  private readonly codecs = decodableCodecs();

  constructor(
    readonly id: string,
    private readonly kind: 'desktop' | 'phone',
  ) {
    const origin = location.origin.replace(/^http/, 'ws');
    this.wire = new RoomLink({
      url: `${origin}/api/v1/rooms/${encodeURIComponent(id)}/ws`,
      client: { kind, codecs: this.codecs },
      token: currentToken,
      onMessage: (message) => this.receive(message),
      onState: (state) => {
        this.link.value = state;
        if (state.kind === 'over') this.stopMedia();
      },
    });
  }

  start(): void {
    this.wire.start();
    this.levels = setInterval(() => this.readLevels(), LEVEL_MS);
    addEventListener('online', this.hurry);
    document.addEventListener('visibilitychange', this.hurry);
  }

  /** Leave for good; safe to call twice. */
  dispose(): void {
    clearInterval(this.levels);
    removeEventListener('online', this.hurry);
    document.removeEventListener('visibilitychange', this.hurry);
    this.wire.close();
    this.stopMedia();
  }

  get offset_ms(): number {
    return this.wire.offset_ms;
  }

  get rtt_ms(): number | null {
    return this.wire.rtt_ms;
  }

  // --- what the person does -------------------------------------------------------------------------------------

  async setMicrophone(on: boolean): Promise<void> {
    if (this.busy.value) return;
    const track = this.publisher?.track('microphone');
    if (track) {
      track.enabled = on;
      this.microphone.value = on;
    } else if (on && (await this.publish('microphone'))) this.microphone.value = true;
    this.tellMute();
  }

  async setCamera(on: boolean): Promise<void> {
    if (this.busy.value) return;
    if (!on) {
      this.publisher?.remove('camera');
      this.camera.value = null;
    } else if (await this.publish('camera')) this.camera.value = this.publisher?.track('camera') ?? null;
    this.tellMute();
  }

  /** Send a stroke (or its next points) and show it here at once. */
  draw(draft: StrokeDraft, whole: StrokeDraft): void {
    const me = this.self.peek();
    if (!me || !this.wire.send({ type: 'stroke', stroke: draft })) return;
    this.strokes.draw(whole, me.id, me.color, Date.now());
    this.onCanvas();
  }

  /** Point; dropped when the link is behind. */
  point(trackId: string, at: [number, number] | null, picture: PictureSize): void {
    if (this.wire.backlog > 4_096) return;
    this.wire.send(
      at
        ? { type: 'laser', track_id: trackId, x: at[0], y: at[1], picture }
        : { type: 'laser', track_id: trackId, off: true },
    );
  }

  undo(): void {
    this.wire.send({ type: 'stroke_undo' });
  }

  clear(mine: boolean): void {
    this.wire.send({ type: 'stroke_clear', mine });
  }

  say(text: string): boolean {
    return this.wire.send({ type: 'chat', text });
  }

  async capture(kind: CaptureKind, frame: FrameRef | null): Promise<Capture> {
    const capture = await api.post<Capture>(`/api/v1/rooms/${this.id}/captures`, {
      kind,
      ...(kind === 'clip' ? { seconds: 10 } : {}),
      ...(frame ? { frame } : {}),
    });
    this.keepCapture(capture);
    return capture;
  }

  stream(action: 'start' | 'stop'): Promise<unknown> {
    return api.post(`/api/v1/rooms/${this.id}/stream`, { action });
  }

  end(): Promise<unknown> {
    return api.post(`/api/v1/rooms/${this.id}/end`);
  }

  // --- what the server tells ------------------------------------------------------------------------------------

  private receive(message: ServerMessage): void {
    switch (message.type) {
      case 'welcome':
        return this.enter(message);
      case 'participant_joined':
      case 'participant_changed':
        this.people.value = upsert(this.people.peek(), message.participant);
        return;
      case 'participant_left':
        this.people.value = this.people.peek().filter((person) => person.id !== message.participant_id);
        this.lasers.delete(message.participant_id);
        return this.onCanvas();
      case 'tracks':
        this.tracks.value = message.tracks;
        return this.subscribe();
      case 'track_state':
        this.tracks.value = this.tracks
          .peek()
          .map((track) => (track.id === message.track_id ? { ...track, state: message.state } : track));
        return;
      case 'frame_map':
        return this.clock.add(message);
      case 'stroke':
        this.strokes.apply(message.stroke, this.offset_ms, Date.now());
        return this.onCanvas();
      case 'strokes_removed':
        this.strokes.remove(message.ids);
        return this.onCanvas();
      case 'laser':
        return this.moveLaser(message);
      case 'chat':
        this.chat.value = [...this.chat.peek().filter((line) => line.id !== message.chat.id), message.chat].slice(-200);
        return;
      case 'capture':
        return this.keepCapture(message.capture);
      case 'room':
        this.room.value = { ...this.room.peek(), ...message.room };
        return;
      case 'error':
        this.refusal.value = { code: message.code, detail: message.detail };
        return;
      case 'mute': // participant_changed follows, with what can be heard in the end
      case 'ended':
      case 'subscribed':
      case 'published':
      case 'pong':
        return;
    }
  }

  private enter(welcome: Welcome): void {
    this.self.value = welcome.self;
    this.room.value = welcome.room;
    this.people.value = upsert(welcome.participants, welcome.self);
    this.tracks.value = welcome.tracks;
    this.chat.value = welcome.chat;
    if (welcome.room.captures) this.captures.value = welcome.room.captures;
    this.iceServers = welcome.ice_servers;
    this.strokes.clear();
    this.lasers.clear();
    for (const stroke of welcome.strokes) this.strokes.apply(stroke, this.offset_ms, Date.now());
    for (const map of welcome.frame_maps) this.clock.add(map);
    this.unanswerable.value = new Set();
    this.replaceSubscriber();
    void this.republish();
    this.onCanvas();
  }

  private keepCapture(capture: Capture): void {
    const others = this.captures.peek().filter((known) => known.id !== capture.id);
    const known = this.captures.peek().find((old) => old.id === capture.id);
    // The answer to the request may come after the news that it is stored.
    const newer = known && known.state !== 'requested' && capture.state === 'requested' ? known : capture;
    this.captures.value = [...others, newer].sort((a, b) => a.requested_at.localeCompare(b.requested_at));
  }

  private moveLaser(message: Laser): void {
    if (message.off) this.lasers.delete(message.participant_id);
    else {
      const person = this.people.peek().find((candidate) => candidate.id === message.participant_id);
      this.lasers.set(message.participant_id, {
        track_id: message.track_id,
        x: message.x,
        y: message.y,
        picture: message.picture,
        color: person?.color ?? '#fff',
        name: person?.name ?? '',
        at_ms: Date.now(),
      });
    }
    this.onCanvas();
  }

  // --- media ----------------------------------------------------------------------------------------------------

  private replaceSubscriber(): void {
    const old = this.subscriber;
    const subscriber: Subscriber = new Subscriber({
      iceServers: this.iceServers,
      subscribe: (sdp, tracks) => this.wire.subscribe(sdp, tracks),
      sendCandidate: (candidate) => this.wire.send({ type: 'candidate', connection: 'subscribe', candidate }),
      onReceivers: (receivers) => {
        if (this.subscriber === subscriber) this.receivers.value = receivers;
        old?.close(); // only now: until here the old picture may still run
      },
      onUnanswerable: (ids) => {
        this.unanswerable.value = new Set([...this.unanswerable.peek(), ...ids]);
        this.subscribe();
      },
      onState: (state) => {
        if (this.subscriber !== subscriber) return;
        this.media.value = state;
        if (state === 'failed') this.replaceSubscriber();
      },
      onError: (error) => {
        if (this.subscriber === subscriber && this.wire.isOpen) {
          this.refusal.value = { code: 'media', detail: error instanceof Error ? error.message : String(error) };
        }
      },
    });
    this.subscriber = subscriber;
    this.subscribe();
  }

  private subscribe(): void {
    if ((this.subscriber?.usedUp ?? 0) > MOST_USED_UP) return this.replaceSubscriber();
    const wanted = chooseTracks(this.tracks.peek(), {
      selfId: this.self.peek()?.id ?? '',
      decodable: new Set(this.codecs),
      unanswerable: this.unanswerable.peek(),
      cameras: CAMERAS[this.kind],
    });
    this.subscriber?.want(wanted);
  }

  private async publish(source: Source): Promise<boolean> {
    this.busy.value = source;
    this.fault.value = null;
    this.publisher ??= this.makePublisher();
    try {
      await this.publisher.add(source);
      return true;
    } catch (error) {
      const refused =
        error instanceof DOMException && ['NotAllowedError', 'NotFoundError', 'NotReadableError'].includes(error.name);
      this.fault.value = refused
        ? { kind: 'refused', source }
        : { kind: 'failed', reason: error instanceof Error ? error.message : String(error) };
      return false;
    } finally {
      this.busy.value = null;
    }
  }

  private makePublisher(): Publisher {
    return new Publisher({
      iceServers: this.iceServers,
      publish: (sdp, sources) => this.wire.publish(sdp, sources),
      sendCandidate: (candidate) => this.wire.send({ type: 'candidate', connection: 'publish', candidate }),
      onState: (state) => {
        if (state === 'failed' && this.wire.isOpen) void this.republish();
      },
    });
  }

  /** After a reconnection: speak again with what was on. */
  private async republish(): Promise<void> {
    const mic = this.publisher?.track('microphone');
    const muted = mic ? !mic.enabled : false;
    const camera = this.camera.peek() !== null;
    this.publisher?.close();
    this.publisher = null;
    if (mic && (await this.publish('microphone'))) {
      const track = (this.publisher as Publisher | null)?.track('microphone');
      if (track) track.enabled = !muted;
    }
    if (camera)
      this.camera.value = (await this.publish('camera'))
        ? ((this.publisher as Publisher | null)?.track('camera') ?? null)
        : null;
    if (mic || camera) this.tellMute();
  }

  private tellMute(): void {
    const [audio, video] = [this.microphone.peek(), this.camera.peek() !== null];
    this.wire.send({ type: 'mute', audio: !audio, video: !video }); // RS-13: true says muted
    const me = this.self.peek();
    if (me)
      this.people.value = this.people
        .peek()
        .map((person) => (person.id === me.id ? { ...person, audio, video } : person));
  }

  private stopMedia(): void {
    this.subscriber?.close();
    this.publisher?.close();
    this.subscriber = null;
    this.publisher = null;
    this.microphone.value = false;
    this.camera.value = null;
  }

  private readLevels(): void {
    const speaking = new Set<string>();
    for (const track of this.tracks.peek()) {
      if (track.kind !== 'audio' || !track.participant_id) continue;
      const source = this.receivers.peek().get(track.id)?.getSynchronizationSources?.()[0];
      if ((source?.audioLevel ?? 0) > 0.02) speaking.add(track.participant_id);
    }
    const before = this.speaking.peek();
    if (before.size !== speaking.size || [...speaking].some((id) => !before.has(id))) this.speaking.value = speaking;
  }

  private readonly hurry = (): void => {
    if (document.visibilityState === 'visible') this.wire.retryNow();
  };
}

function upsert(people: readonly Participant[], person: Participant): Participant[] {
  return [...people.filter((known) => known.id !== person.id), person].sort((a, b) =>
    a.joined_at.localeCompare(b.joined_at),
  );
}

/** The session's access token; a fresh one when the old is nearly over. Null when nobody is signed in. */
async function currentToken(fresh: boolean): Promise<string | null> {
  const state = auth.peek();
  if (state.kind === 'in' && !fresh && state.expiresAt - Date.now() > 30_000) return state.token;
  if (!(await refresh()) && auth.peek().kind !== 'in') return null;
  return token();
}
