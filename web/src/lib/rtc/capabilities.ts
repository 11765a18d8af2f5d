/** What this browser can decode, and in which order it should be offered. */
import type { Codec } from './messages';

interface Capable {
  getCapabilities?(kind: string): RTCRtpCapabilities | null;
}

/** The protocol's codecs that this browser can receive; a browser that does not tell gets VP8 and opus. */
export function decodableCodecs(receiver: Capable | undefined = globalThis.RTCRtpReceiver): Codec[] {
  const video = receiver?.getCapabilities?.('video')?.codecs ?? [];
  const mimes = new Set(video.map((codec) => codec.mimeType.toLowerCase()));
  const codecs: Codec[] = [];
  if (mimes.has('video/h264')) codecs.push('H264');
  if (mimes.has('video/vp8') || mimes.size === 0) codecs.push('VP8');
  codecs.push('opus');
  return codecs;
}

/** Put the codecs of one name first; H.264 with packetization-mode 1 before others, as the site publishes it. */
export function preferCodec(codecs: readonly RTCRtpCodec[], name: Codec): RTCRtpCodec[] {
  const rank = (codec: RTCRtpCodec): number => {
    if (codec.mimeType.toLowerCase() !== `video/${name}`.toLowerCase()) return 2;
    return name === 'H264' && !codec.sdpFmtpLine?.includes('packetization-mode=1') ? 1 : 0;
  };
  return [...codecs].sort((a, b) => rank(a) - rank(b));
}
