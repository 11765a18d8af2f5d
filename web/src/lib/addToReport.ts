/** "Add to report": put a picture among the key images of the report being written, and tell what came of it. */
import { useEffect, useState } from 'react';
import { notify } from '@/kit/Toasts';
import type { KeyImage, Report } from '@/protocol/types';
import { t } from './i18n/app';
import { addKeyImage, MOST_KEY_IMAGES, reportInDrafting, type ReportSubject } from './keyImages';
import { listen } from './events';
import { reasonOf } from './reason';

/** Add the picture that `image` names once it is asked (null: the archive has no such picture). */
export async function addToReport(subject: ReportSubject, image: () => Promise<KeyImage | null>): Promise<void> {
  try {
    const picture = await image();
    const added = picture ? await addKeyImage(subject, picture) : 'missing';
    notify(t(`key_image.${added}`, { n: MOST_KEY_IMAGES }), added === 'added' ? 'ok' : 'warn');
  } catch (error) {
    notify(t('key_image.failed', { reason: reasonOf(error) }), 'bad');
  }
}

/** The report about this patient that the person signed in is writing; null while there is none. */
export function useReportInDrafting(patientId: string | null): Report | null {
  const [report, setReport] = useState<Report | null>(null);
  useEffect(() => {
    setReport(null);
    if (!patientId) return;
    const stop = new AbortController();
    const read = () =>
      reportInDrafting({ patientId }, stop.signal).then(
        (found) => !stop.signal.aborted && setReport(found),
        () => undefined, // without the answer there is no button; the desk offers the pictures too
      );
    void read();
    const deaf = listen((event) => {
      if (event === null || event.type === 'report.changed') void read();
    });
    return () => {
      stop.abort();
      deaf();
    };
  }, [patientId]);
  return report;
}
