/**
 * The sending connection: microphone first, camera when asked (RS-13). Nothing is captured before the person acts.
 * The object owns the captured tracks and its RTCPeerConnection; `close()` stops both.
 */
import type { Published } from './messages';
import type { PeerLike } from './subscriber';

export type Source = 'microphone' | 'camera';

export interface PublisherOptions {
  iceServers: RTCIceServer[];
  publish(sdp: string, sources: Record<string, Source>): Promise<Published>;
  sendCandidate(candidate: RTCIceCandidateInit): void;
  onState(state: RTCPeerConnectionState): void;
  makePeer?: (config: RTCConfiguration) => PeerLike;
  capture?: (constraints: MediaStreamConstraints) => Promise<MediaStream>;
}

const CONSTRAINTS: Record<Source, MediaStreamConstraints> = {
  microphone: { audio: { echoCancellation: true, noiseSuppression: true, autoGainControl: true } },
  // Faces come after the examination's picture and after speech: small and slow is enough.
  camera: { video: { width: { ideal: 320 }, height: { ideal: 240 }, frameRate: { ideal: 15, max: 15 } } },
};
const MAX_BITRATE: Record<Source, number> = { microphone: 32_000, camera: 200_000 };

export class Publisher {
  private peer: PeerLike | null = null;
  private senders = new Map<Source, { transceiver: RTCRtpTransceiver; track: MediaStreamTrack }>();
  private queue: Promise<unknown> = Promise.resolve();
  private closed = false;

  constructor(private readonly options: PublisherOptions) {}

  /** Capture a source and publish it; resolves when the server has answered. Rejects when capture is refused. */
  add(source: Source): Promise<MediaStreamTrack> {
    const done = this.queue.then(() => this.addNow(source));
    this.queue = done.catch(() => undefined);
    return done;
  }

  /** Stop sending and release the device. */
  remove(source: Source): void {
    const sender = this.senders.get(source);
    if (!sender) return;
    sender.track.stop();
    void sender.transceiver.sender.replaceTrack(null).catch(() => undefined); // a closed connection sends nothing anyway
  }

  track(source: Source): MediaStreamTrack | null {
    const track = this.senders.get(source)?.track;
    return track && track.readyState === 'live' ? track : null;
  }

  close(): void {
    this.closed = true;
    for (const { track } of this.senders.values()) track.stop();
    this.senders.clear();
    this.peer?.close();
    this.peer = null;
  }

  private async addNow(source: Source): Promise<MediaStreamTrack> {
    const capture = this.options.capture ?? ((constraints) => navigator.mediaDevices.getUserMedia(constraints));
    const stream = await capture(CONSTRAINTS[source]);
    const track = stream.getTracks()[0];
    if (!track || this.closed) {
      track?.stop();
      throw new DOMException('no track was captured', 'NotFoundError');
    }
    const existing = this.senders.get(source);
    if (existing) {
      await existing.transceiver.sender.replaceTrack(track);
      this.senders.set(source, { transceiver: existing.transceiver, track });
      return track;
    }
    const transceiver = this.connection().addTransceiver(track, { direction: 'sendonly', streams: [stream] });
    this.senders.set(source, { transceiver, track });
    try {
      await this.negotiate();
    } catch (error) {
      track.stop();
      this.senders.delete(source);
      throw error;
    }
    await limit(transceiver.sender, MAX_BITRATE[source]);
    return track;
  }

  private connection(): PeerLike {
    if (this.peer) return this.peer;
    const make = this.options.makePeer ?? ((config) => new RTCPeerConnection(config));
    const peer = make({ iceServers: this.options.iceServers, bundlePolicy: 'max-bundle' });
    peer.onicecandidate = (event) => {
      if (event.candidate) this.options.sendCandidate(event.candidate.toJSON());
    };
    peer.onconnectionstatechange = () => {
      if (!this.closed) this.options.onState(peer.connectionState);
    };
    this.peer = peer;
    return peer;
  }

  private async negotiate(): Promise<void> {
    const peer = this.connection();
    await peer.setLocalDescription(await peer.createOffer());
    const sources: Record<string, Source> = {};
    for (const [source, { transceiver }] of this.senders) {
      if (transceiver.mid !== null) sources[transceiver.mid] = source;
    }
    const answer = await this.options.publish(peer.localDescription?.sdp ?? '', sources);
    if (!this.closed) await peer.setRemoteDescription({ type: 'answer', sdp: answer.sdp });
  }
}

async function limit(sender: RTCRtpSender, bitrate: number): Promise<void> {
  const parameters = sender.getParameters();
  const encoding = parameters.encodings?.[0];
  if (!encoding) return;
  encoding.maxBitrate = bitrate;
  await sender.setParameters(parameters).catch(() => undefined); // an old browser may refuse; the default bitrate stays
}
