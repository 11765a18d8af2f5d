/** Above the picture: whose examination it is, and what the host and everybody can do with the room. */
import { Button, Chip, PatientBanner } from '@/kit';
import { personFromPn } from '@/lib/pn';
import { may } from '@/lib/roles';
import type { Sex } from '@/protocol/types';
import { attempt } from './attempt';
import { Glyph } from './Glyph';
import type { RoomSession } from './session';
import { GLYPHS } from './tools';
import { r } from './words';

interface HeadProps {
  session: RoomSession;
  mismatch: boolean;
  phone: boolean;
  split: boolean;
  onSplit: () => void;
  onEnd: () => void;
  onLeave: () => void;
}

export function RoomHead({ session, mismatch, phone, split, onSplit, onEnd, onLeave }: HeadProps) {
  const room = session.room.value;
  const patient = room?.patient;
  return (
    <header className="room-head">
      {patient || may('patient.read') ? (
        <PatientBanner
          patient={
            patient
              ? {
                  patient_id: patient.patient_id,
                  name: personFromPn(patient.name),
                  birth_date: patient.birth_date ?? null,
                  sex: (patient.sex ?? '') as Sex,
                }
              : null
          }
          study={room ? [room.modality, room.title].filter(Boolean).join(' · ') : null}
          accession={room?.accession_number}
          mismatch={mismatch ? r('mismatch') : null}
        />
      ) : (
        <p className="banner">
          <strong>{room?.title}</strong> <Chip tone="info">{r('deidentified')}</Chip>
        </p>
      )}
      {!phone && (
        <div className="room-actions">
          <span className="soft small clip room-site">{room?.site_name}</span>
          {may('study.read') && (
            <Button
              aria-pressed={split}
              data-testid="btn-split"
              data-on={split}
              title={`${r('split')} (s)`}
              onClick={onSplit}
            >
              <Glyph path={GLYPHS.split} />
              {split ? r('close_split') : r('split_short')}
            </Button>
          )}
          <HostActions session={session} onEnd={onEnd} />
          <Button variant="danger" data-testid="btn-leave" onClick={onLeave}>
            {r('leave')}
          </Button>
        </div>
      )}
    </header>
  );
}

export function HostActions({ session, onEnd }: { session: RoomSession; onEnd: () => void }) {
  if (!may('room.host')) return null;
  const running = session.tracks.value.some((track) => track.source === 'modality' && track.state !== 'ended');
  return (
    <span className="row host-actions">
      <Button data-testid="btn-stream" onClick={() => attempt(session.stream(running ? 'stop' : 'start'))}>
        {running ? r('stop_stream') : r('start_stream')}
      </Button>
      <Button data-testid="btn-end" onClick={onEnd}>
        {r('end_room')}
      </Button>
    </span>
  );
}
