/** The prior beside the live picture; the viewport's code is loaded when it is first wanted. */
import { useEffect, useState, type ComponentType } from 'react';
import { Button, Notice } from '@/kit';
import { t } from '@/lib/i18n/app';
import type { Capture } from '@/lib/rtc/messages';
import type { PriorPane } from '@/lib/viewport/PriorPane';
import type { RoomSession } from './session';
import { r } from './words';

type PaneProps = Parameters<typeof PriorPane>[0];

interface Props {
  session: RoomSession;
  focus: Capture | null;
  phone: boolean;
  onOpenPatient: (patientId: string | null) => void;
}

export function PriorSide({ session, focus, phone, onOpenPatient }: Props) {
  const [Pane, setPane] = useState<{ view: ComponentType<PaneProps> } | null>(null);
  const [failed, setFailed] = useState(false);
  const load = () => {
    setFailed(false);
    import('@/lib/viewport/PriorPane').then(
      (module) => setPane({ view: module.PriorPane }),
      () => setFailed(true),
    );
  };
  useEffect(load, []);
  const room = session.room.value;
  const stored = session.captures.value.filter((capture) => capture.state === 'stored').length;
  if (failed) {
    return (
      <Notice tone="bad" title={t('problem.page_load')} action={<Button onClick={load}>{t('action.retry')}</Button>} />
    );
  }
  if (!Pane) return <p className="stage-words">{r('loading')}</p>;
  return (
    <Pane.view
      subject={{ studyUid: room?.study_uid ?? null, patientId: room?.patient_id ?? null }}
      focus={
        focus?.study_uid && focus.sop_instance_uid
          ? { studyUid: focus.study_uid, sopInstanceUid: focus.sop_instance_uid }
          : null
      }
      freshness={stored}
      small={phone}
      onOpenPatient={onOpenPatient}
    />
  );
}
