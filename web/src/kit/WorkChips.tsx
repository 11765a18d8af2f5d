/** States of work in words and tones; the word always stands with the colour. */
import { t } from '@/lib/i18n/app';
import type { MessageKey } from '@/lib/i18n/en';
import { distance, howLong } from '@/lib/when';
import type { ReportState, RoomState, Urgency } from '@/protocol/types';
import { Chip, type Tone } from './base';
import './work.css';

const CONSULTATION = {
  draft: ['neutral', 'consultation.state.draft'],
  requested: ['info', 'consultation.state.requested'],
  triaged: ['info', 'consultation.state.triaged'],
  accepted: ['accent', 'consultation.state.accepted'],
  scheduled: ['accent', 'consultation.state.scheduled'],
  ready: ['accent', 'consultation.state.ready'],
  in_session: ['ok', 'consultation.state.in_session'],
  interrupted: ['warn', 'consultation.state.interrupted'],
  reporting: ['violet', 'consultation.state.reporting'],
  completed: ['neutral', 'consultation.state.completed'],
  closed: ['neutral', 'consultation.state.closed'],
  rejected: ['bad', 'consultation.state.rejected'],
  cancelled: ['neutral', 'consultation.state.cancelled'],
  no_show: ['warn', 'consultation.state.no_show'],
} as const satisfies Record<string, [Tone, MessageKey]>;

/** The state's word; a state that this client does not know is shown as the server calls it. */
export function consultationWord(state: string): string {
  const known = CONSULTATION[state as keyof typeof CONSULTATION];
  return known ? t(known[1]) : state;
}

export function ConsultationChip({ state }: { state: string }) {
  const tone: Tone = CONSULTATION[state as keyof typeof CONSULTATION]?.[0] ?? 'neutral';
  return (
    <Chip tone={tone} dot>
      {consultationWord(state)}
    </Chip>
  );
}

const REPORT: Record<ReportState, [Tone, MessageKey]> = {
  drafting: ['info', 'report.state.drafting'],
  submitted: ['violet', 'report.state.submitted'],
  in_review: ['violet', 'report.state.in_review'],
  returned: ['warn', 'report.state.returned'],
  signed: ['ok', 'report.state.signed'],
  retracted: ['bad', 'report.state.retracted'],
};

export function ReportChip({ state }: { state: ReportState }) {
  const [tone, word] = REPORT[state];
  return (
    <Chip tone={tone} dot>
      {t(word)}
    </Chip>
  );
}

const ROOM: Record<RoomState, [Tone, MessageKey]> = {
  planned: ['neutral', 'room.state.planned'],
  lobby: ['warn', 'room.state.lobby'],
  live: ['bad', 'room.state.live'],
  paused: ['neutral', 'room.state.paused'],
  ended: ['neutral', 'room.state.ended'],
};

export function RoomChip({ state }: { state: RoomState }) {
  const [tone, word] = ROOM[state];
  return (
    <Chip tone={tone} dot pulse={state === 'live'}>
      {t(word)}
    </Chip>
  );
}

const URGENCY: Record<Urgency, [Tone, MessageKey]> = {
  stat: ['bad', 'urgency.stat'],
  urgent: ['warn', 'urgency.urgent'],
  routine: ['neutral', 'urgency.routine'],
};

export function UrgencyChip({ urgency }: { urgency: Urgency }) {
  const [tone, word] = URGENCY[urgency];
  return <Chip tone={tone}>{t(word)}</Chip>;
}

/** When work is due, and in words when it is late. */
export function Due({ at, now }: { at: string; now: number }) {
  const late = new Date(at).getTime() < now;
  return (
    <span className="due num" data-late={late || undefined}>
      {late ? t('due.late', { how_long: howLong(at, now) }) : t('due.in', { when: distance(at, now) })}
    </span>
  );
}

/** The letters of a modality (US, CT, ...) as a quiet tag. */
export function Modality({ code }: { code: string }) {
  return <span className="modality mono">{code}</span>;
}
