/**
 * The receiving connection: one recvonly transceiver per wanted track, the server always answers (RS-12).
 *
 * `want()` may be called at any rate; rounds of offer and answer run one at a time and the last wish wins.
 * The object owns its RTCPeerConnection; `close()` ends it.
 */
import { preferCodec } from './capabilities';
import type { Subscribed, Track } from './messages';
import { fillSlots } from './tracks';

/** The part of RTCPeerConnection that is used; a test gives its own. */
export type PeerLike = Pick<
  RTCPeerConnection,
  | 'addTransceiver'
  | 'createOffer'
  | 'setLocalDescription'
  | 'setRemoteDescription'
  | 'close'
  | 'onicecandidate'
  | 'onconnectionstatechange'
  | 'connectionState'
  | 'localDescription'
>;

export interface SubscriberOptions {
  iceServers: RTCIceServer[];
  subscribe(sdp: string, tracks: Record<string, string>): Promise<Subscribed>;
  sendCandidate(candidate: RTCIceCandidateInit): void;
  /** The receivers by track id, after each round. */
  onReceivers(receivers: ReadonlyMap<string, RTCRtpReceiver>): void;
  onUnanswerable(trackIds: string[]): void;
  onState(state: RTCPeerConnectionState): void;
  onError(error: unknown): void;
  makePeer?: (config: RTCConfiguration) => PeerLike;
}

interface Seat {
  transceiver: RTCRtpTransceiver;
  kind: 'video' | 'audio';
  trackId: string | null;
}

export class Subscriber {
  private readonly peer: PeerLike;
  private seats: Seat[] = [];
  private wanted: readonly Track[] = [];
  private running = false;
  private dirty = false;
  private closed = false;

  constructor(private readonly options: SubscriberOptions) {
    const make = options.makePeer ?? ((config) => new RTCPeerConnection(config));
    this.peer = make({ iceServers: options.iceServers, bundlePolicy: 'max-bundle' });
    this.peer.onicecandidate = (event) => {
      if (event.candidate) options.sendCandidate(event.candidate.toJSON());
    };
    this.peer.onconnectionstatechange = () => {
      if (!this.closed) options.onState(this.peer.connectionState);
    };
  }

  /** State the whole set of wanted tracks; nothing happens when it is the set we have. */
  want(tracks: readonly Track[]): void {
    this.wanted = tracks;
    const now = this.seats.flatMap((seat) => (seat.trackId === null ? [] : [seat.trackId])).sort();
    if (
      !this.dirty &&
      now.join() ===
        tracks
          .map((track) => track.id)
          .sort()
          .join()
    )
      return;
    this.dirty = true;
    if (!this.running) void this.run();
  }

  /** How many of its m-lines are used up; with many, a new connection is the lighter one. */
  get usedUp(): number {
    return this.seats.filter((seat) => seat.trackId === null).length;
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.peer.onicecandidate = null;
    this.peer.onconnectionstatechange = null;
    this.peer.close();
  }

  private async run(): Promise<void> {
    this.running = true;
    try {
      while (this.dirty && !this.closed) {
        this.dirty = false;
        await this.round();
      }
    } catch (error) {
      if (!this.closed) this.options.onError(error);
    } finally {
      this.running = false;
    }
  }

  private async round(): Promise<void> {
    this.seat(this.wanted);
    await this.peer.setLocalDescription(await this.peer.createOffer());
    const tracks: Record<string, string> = {};
    for (const { transceiver, trackId } of this.seats) {
      if (trackId !== null && transceiver.mid !== null) tracks[transceiver.mid] = trackId;
    }
    const answer = await this.options.subscribe(this.peer.localDescription?.sdp ?? '', tracks);
    if (this.closed) return;
    await this.peer.setRemoteDescription({ type: 'answer', sdp: answer.sdp });
    const refused = answer.unanswerable.map((entry) => entry.track_id);
    for (const seat of this.seats) {
      if (seat.trackId !== null && refused.includes(seat.trackId)) seat.trackId = null;
    }
    this.options.onReceivers(
      new Map(
        this.seats.flatMap(({ trackId, transceiver }) => (trackId === null ? [] : [[trackId, transceiver.receiver]])),
      ),
    );
    if (refused.length > 0) this.options.onUnanswerable(refused);
  }

  private seat(tracks: readonly Track[]): void {
    const slots = fillSlots(this.seats, tracks);
    slots.forEach((slot, i) => {
      const seat = this.seats[i] ?? this.addSeat(slot.kind);
      const track = tracks.find((candidate) => candidate.id === slot.trackId);
      seat.trackId = slot.trackId;
      seat.transceiver.direction = track ? 'recvonly' : 'inactive';
      if (track) prepare(seat.transceiver, track);
    });
  }

  private addSeat(kind: 'video' | 'audio'): Seat {
    const seat: Seat = { transceiver: this.peer.addTransceiver(kind, { direction: 'recvonly' }), kind, trackId: null };
    this.seats.push(seat);
    return seat;
  }
}

function prepare(transceiver: RTCRtpTransceiver, track: Track): void {
  if (track.kind !== 'video') return;
  const codecs = globalThis.RTCRtpReceiver?.getCapabilities?.('video')?.codecs;
  if (codecs && typeof transceiver.setCodecPreferences === 'function') {
    transceiver.setCodecPreferences(preferCodec(codecs, track.codec));
  }
  // The examination's picture is worth more fresh than smooth.
  if (track.source === 'modality' && 'jitterBufferTarget' in transceiver.receiver) {
    transceiver.receiver.jitterBufferTarget = 0;
  }
}
