/**
 * The client's view of the REST contract (docs/architecture.md section 5): the shapes the screens read.
 * The generated `openapi.d.ts` beside it is the wire's own description.
 */
export type Role = 'operator' | 'specialist' | 'reviewer' | 'trainee' | 'referrer' | 'qc' | 'itsec' | 'admin';

export interface User {
  id: string;
  username: string;
  name: string;
  role: Role;
  tenant: string;
}

export interface Session {
  access_token: string;
  expires_in_s: number;
  user: User;
}

export interface Info {
  name: string;
  version: string;
  languages: string[];
  ice_servers: RTCIceServer[];
}

export interface Page<T> {
  items: T[];
  next_cursor: string | null;
}

export type Sex = 'M' | 'F' | 'O' | 'U' | '';

export interface PersonName {
  family: string;
  given: string;
  ideographic?: string | null;
  phonetic?: string | null;
}

export interface Patient {
  id: string;
  patient_id: string;
  issuer?: string | null;
  name: PersonName;
  birth_date?: string | null;
  sex?: Sex | null;
  created_at?: string;
}

export type RoomState = 'planned' | 'lobby' | 'live' | 'paused' | 'ended';

export interface RoomTrack {
  id: string;
  kind: 'video' | 'audio';
  source: 'modality' | 'camera' | 'microphone';
  state: 'waiting' | 'live' | 'stalled' | 'ended';
  label: string;
  width?: number | null;
  height?: number | null;
}

export interface Room {
  id: string;
  title: string;
  site_id: string | null;
  site_name: string | null;
  modality: string | null;
  state: RoomState;
  live: boolean;
  started_at?: string | null;
  waiting_since?: string | null;
  participants: number;
  consultation_id?: string | null;
  tracks?: RoomTrack[];
  patient_id?: string | null;
  study_uid?: string | null;
  accession_number?: string | null;
}

export type Urgency = 'stat' | 'urgent' | 'routine';
export type ConsultationKind = 'live' | 'report' | 'second_opinion';

/** Who did something: the id of the account and the name at the time. */
export interface Person {
  id: string;
  name: string;
}

export interface HistoryEntry {
  at: string;
  by: string;
  by_name: string;
  from: string | null;
  to: string;
  reason?: string | null;
}

export interface Consultation {
  id: string;
  patient: Patient;
  question: string;
  urgency: Urgency;
  kind: ConsultationKind;
  state: string;
  requested_by: string;
  requested_by_name: string;
  requested_at: string;
  accepted_by?: string | null;
  accepted_by_name?: string | null;
  site_id?: string | null;
  room_id?: string | null;
  report_id?: string | null;
  study_uid?: string | null;
  accession_number?: string | null;
  due_at?: string | null;
  history?: HistoryEntry[];
}

export type ReportState = 'drafting' | 'submitted' | 'in_review' | 'returned' | 'signed' | 'retracted';

export interface ReportSections {
  findings: string;
  impression: string;
  recommendation: string;
}

export interface KeyImage {
  study_uid: string;
  series_uid: string;
  sop_instance_uid: string;
  frame?: number | null;
}

export interface Report {
  id: string;
  consultation_id: string;
  patient: Patient;
  state: ReportState;
  version: number;
  etag: string;
  sections: ReportSections;
  language: string;
  author: Person | null;
  reviewer?: Person | null;
  signed_by?: Person | null;
  signed_at?: string | null;
  hash?: string | null;
  key_images: KeyImage[];
  addenda?: Addendum[];
  updated_at?: string;
}

export interface Addendum {
  id: string;
  text: string;
  signed_by: Person;
  signed_at: string;
  hash: string;
}

/** What a report said after one act. */
export interface ReportVersion {
  version: number;
  at: string;
  by: Person;
  act: string;
  state: string;
  sections: ReportSections;
  reason: string;
}

export interface Device {
  id: string;
  name: string;
  kind: string;
  state: string;
  detail?: string | null;
  width?: number | null;
  height?: number | null;
  fps?: number | null;
}

export interface Site {
  id: string;
  name: string;
  state: 'enrolled' | 'pending' | 'revoked';
  online: boolean;
  last_seen?: string | null;
  version?: string | null;
  clock_offset_ms?: number | null;
  rooms: string[];
  devices: Device[];
  spool?: { unacknowledged: number; bytes: number } | null;
  enrolment_code?: string | null; // in the answer that made it only
  code_expires_at?: string | null;
}

export interface AuditEntry {
  seq: number;
  time: string;
  actor: string;
  actor_name?: string;
  role?: string | null;
  action: string;
  outcome: 'success' | 'denied' | 'failure';
  subject?: string | null;
  patient_id?: string | null;
  detail?: unknown;
  hash: string;
}

export interface AuditChain {
  ok: boolean;
  entries: number;
  first_bad_seq: number | null;
}

export interface StudyName {
  alphabetic?: string | null;
  ideographic?: string | null;
  phonetic?: string | null;
}

export interface Study {
  study_uid: string;
  patient_id: string | null;
  patient_name: StudyName | null;
  patient_birth_date?: string | null;
  patient_sex?: Sex | null;
  study_date: string | null;
  study_time?: string | null;
  description: string | null;
  modalities: string[];
  series: number;
  instances: number;
  accession_number: string | null;
  received_at?: string | null;
}

export type EventName =
  | 'instance.stored'
  | 'room.changed'
  | 'room.captured'
  | 'consultation.changed'
  | 'report.changed'
  | 'site.changed'
  | 'quarantine.changed';

export interface ServerEvent {
  id: string;
  type: EventName;
  tenant: string;
  subject: string;
  time: string;
  data: Record<string, unknown>;
  seq: number;
}
