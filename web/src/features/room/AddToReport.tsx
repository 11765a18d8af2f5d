/** Puts a stored capture among the key images of the report that is being written about this consultation or patient. */
import { useState } from 'react';
import { Button } from '@/kit';
import { addToReport } from '@/lib/addToReport';
import { t } from '@/lib/i18n/app';
import { seriesOf } from '@/lib/keyImages';
import { may } from '@/lib/roles';
import type { Capture } from '@/lib/rtc/messages';
import type { RoomSession } from './session';

export function AddToReport({ session, capture }: { session: RoomSession; capture: Capture }) {
  const [busy, setBusy] = useState(false);
  const { study_uid: study, sop_instance_uid: instance } = capture;
  if (capture.state !== 'stored' || !study || !instance || !may('report.draft')) return null;
  const image = async () => {
    const series = await seriesOf(study, instance);
    return series ? { study_uid: study, series_uid: series, sop_instance_uid: instance, frame: 1 } : null;
  };
  const add = async () => {
    setBusy(true);
    const room = session.room.peek();
    await addToReport({ consultationId: room?.consultation_id, patientId: room?.patient_id }, image);
    setBusy(false);
  };
  return (
    <Button variant="quiet" icon="file" busy={busy} data-testid="btn-add-to-report" onClick={() => void add()}>
      {t('key_image.add')}
    </Button>
  );
}
