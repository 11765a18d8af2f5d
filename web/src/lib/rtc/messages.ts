/**
 * The words of `consilium.room.v1` (docs/protocols/room-signalling.md), as tagged unions.
 * Everything that crosses the room's WebSocket is one of these; unknown types are ignored by the client.
 */
import type { Role, Room } from '@/protocol/types';

export type Codec = 'H264' | 'VP8' | 'opus';
export type TrackState = 'waiting' | 'live' | 'stalled' | 'ended';
export type TrackSource = 'modality' | 'camera' | 'microphone';

/** RS-10 */
export interface Track {
  id: string;
  kind: 'video' | 'audio';
  source: TrackSource;
  codec: Codec;
  participant_id?: string | null;
  site_id?: string | null;
  label: string;
  state: TrackState;
  width?: number | null;
  height?: number | null;
  group?: string | null;
}

/** RS-03 */
export interface Participant {
  id: string;
  user_id: string;
  name: string;
  role: Role;
  color: string;
  audio: boolean;
  video: boolean;
  joined_at: string;
}

/** Names one frame of one live track; `rtp_timestamp` in 90 kHz ticks as the publisher sent it. */
export interface FrameRef {
  track_id: string;
  rtp_timestamp: number;
  media_epoch: number;
  frame_no?: number | null;
  captured_at_us?: number | null;
}

/** RS-16 */
export interface FrameMap {
  track_id: string;
  rtp_timestamp: number;
  media_epoch: number;
  frame_no: number;
  captured_at_us: number;
}

export type StrokeTool = 'pen' | 'arrow' | 'ellipse' | 'text';
/** A point in pixels of the picture that the shape was drawn on. */
export type Point = [number, number];
/** The size of that picture, width and height: encodes of one picture differ in size, and a size may change. */
export type PictureSize = [number, number];

/** RS-20, as a client sends it. */
export interface StrokeDraft {
  id: string;
  tool: StrokeTool;
  track_id: string;
  points: Point[];
  picture?: PictureSize;
  text?: string;
  frame: FrameRef;
  pinned: boolean;
}

/** RS-20, as the server relays it. */
export interface Stroke extends StrokeDraft {
  participant_id: string;
  color: string;
  at: string;
  expires_at?: string | null;
}

export interface Chat {
  id: string;
  participant_id: string;
  name: string;
  text: string;
  at: string;
}

export type CaptureKind = 'still' | 'clip';

export interface Capture {
  id: string;
  room_id: string;
  kind: CaptureKind;
  state: 'requested' | 'stored' | 'failed';
  requested_at: string;
  requested_by: string;
  study_uid?: string | null;
  sop_instance_uid?: string | null;
  reason?: string | null;
}

/** The patient as captured objects will name them: `name` is a DICOM PN with its component groups. */
export interface RoomPatient {
  patient_id: string;
  name: string;
  birth_date?: string | null;
  sex?: string | null;
}

/** A room as the REST detail and the welcome give it; no patient for roles that may not read patients. */
export type LiveRoom = Room & { captures?: Capture[]; patient?: RoomPatient | null };

export interface Welcome {
  type: 'welcome';
  self: Participant;
  room: LiveRoom;
  participants: Participant[];
  tracks: Track[];
  strokes: Stroke[];
  chat: Chat[];
  frame_maps: FrameMap[];
  ice_servers: RTCIceServer[];
  server_time: string;
  session_id: string;
}

export interface Subscribed {
  type: 'subscribed';
  id: string;
  sdp: string;
  unanswerable: { track_id: string; codec: Codec }[];
}

export interface Published {
  type: 'published';
  id: string;
  sdp: string;
  track_ids: Record<string, string>;
}

export type Laser =
  | {
      type: 'laser';
      participant_id: string;
      track_id: string;
      x: number;
      y: number;
      picture?: PictureSize;
      off?: false;
    }
  | { type: 'laser'; participant_id: string; track_id: string; off: true };

export type ServerMessage =
  | Welcome
  | Subscribed
  | Published
  | { type: 'participant_joined'; participant: Participant }
  | { type: 'participant_left'; participant_id: string }
  | { type: 'mute'; participant_id: string; audio: boolean; video: boolean }
  | { type: 'participant_changed'; participant: Participant }
  | { type: 'tracks'; tracks: Track[] }
  | { type: 'track_state'; track_id: string; state: TrackState; since?: string | null }
  | ({ type: 'frame_map' } & FrameMap)
  | { type: 'stroke'; stroke: Stroke }
  | { type: 'strokes_removed'; ids: string[] }
  | Laser
  | { type: 'chat'; chat: Chat }
  | { type: 'capture'; capture: Capture }
  | { type: 'room'; room: LiveRoom }
  | { type: 'ended' }
  | { type: 'pong'; t: number; server_time_us: number }
  | { type: 'error'; id?: string | null; code: string; detail: string };

export type ConnectionName = 'subscribe' | 'publish';

export type ClientMessage =
  | { type: 'hello'; token: string; client: { kind: 'desktop' | 'phone'; codecs: Codec[] } }
  | { type: 'token'; token: string }
  | { type: 'leave' }
  | { type: 'ping'; t: number }
  | { type: 'subscribe'; id: string; sdp: string; tracks: Record<string, string> }
  | { type: 'publish'; id: string; sdp: string; sources: Record<string, 'microphone' | 'camera'> }
  | { type: 'unpublish' }
  | { type: 'mute'; audio: boolean; video: boolean }
  | { type: 'candidate'; connection: ConnectionName; candidate: RTCIceCandidateInit }
  | { type: 'stroke'; stroke: StrokeDraft }
  | { type: 'stroke_undo' }
  | { type: 'stroke_clear'; mine: boolean }
  | { type: 'laser'; track_id: string; x: number; y: number; picture?: PictureSize }
  | { type: 'laser'; track_id: string; off: true }
  | { type: 'chat'; text: string };
