/** Puts the frame on the screen among the key images of the report being written about this patient; loaded for who writes. */
import { Button } from '@/kit';
import { addToReport, useReportInDrafting } from '@/lib/addToReport';
import { t } from '@/lib/i18n/app';
import type { Viewport } from '@/lib/viewport/viewport';

/** Add what the viewport shows now; nothing when it shows nothing. */
export function addShown(viewport: Viewport | null, patientId: string | null): void {
  const { instance, frame } = viewport?.state.peek() ?? { instance: null, frame: 1 };
  if (!instance) return;
  const { studyUid, seriesUid, sopInstanceUid } = instance;
  const image = { study_uid: studyUid, series_uid: seriesUid, sop_instance_uid: sopInstanceUid, frame };
  void addToReport({ patientId }, async () => image);
}

export function AddShown({ viewport, patientId }: { viewport: Viewport | null; patientId: string | null }) {
  if (!useReportInDrafting(patientId)) return null;
  return (
    <Button
      icon="file"
      data-testid="btn-add-to-report"
      title={`${t('key_image.add')} (b)`}
      disabled={!viewport?.state.value.instance}
      onClick={() => addShown(viewport, patientId)}
    >
      {t('key_image.add')}
    </Button>
  );
}
