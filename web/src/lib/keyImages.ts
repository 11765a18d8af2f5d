/** Key images of reports: which picture is meant, and how one is added to the report being written about a patient. */
import { api, withQuery } from './api';
import { user } from './auth';
import { ApiError } from './problem';
import { may } from './roles';
import type { KeyImage, Page, Report } from '@/protocol/types';

export const MOST_KEY_IMAGES = 50; // consult's own limit
const WRITABLE = '/api/v1/reports?state=drafting&state=returned&limit=200';

export function imageId(image: KeyImage): string {
  return `${image.sop_instance_uid}/${image.frame ?? 1}`;
}

/** Where the server shows a key image. */
export function renderedPath({ study_uid, series_uid, sop_instance_uid, frame }: KeyImage): string {
  const instance = `/dicomweb/studies/${study_uid}/series/${series_uid}/instances/${sop_instance_uid}`;
  return `${instance}/frames/${frame ?? 1}/rendered`;
}

/** Which report a picture belongs to: the consultation's, else one about the same patient. */
export interface ReportSubject {
  consultationId?: string | null | undefined;
  patientId?: string | null | undefined;
}

/** The report of this subject that the person signed in is writing now; null when there is none. */
export async function reportInDrafting(subject: ReportSubject, signal?: AbortSignal): Promise<Report | null> {
  if (!may('report.draft')) return null;
  const me = user.peek()?.id;
  const { items } = await api.get<Page<Report>>(WRITABLE, { signal });
  const mine = items.filter((report) => report.author === null || report.author.id === me);
  return (
    mine.find((report) => report.consultation_id === subject.consultationId) ??
    mine.find((report) => subject.patientId && report.patient.patient_id === subject.patientId) ??
    null
  );
}

/** Say which series an instance belongs to, by QIDO-RS; null when the archive has no such instance. */
export async function seriesOf(studyUid: string, sopInstanceUid: string): Promise<string | null> {
  const path = withQuery(`/dicomweb/studies/${studyUid}/instances`, { SOPInstanceUID: sopInstanceUid, limit: 1 });
  const rows = await api.get<Record<string, { Value?: string[] }>[] | null>(path, {
    headers: { accept: 'application/dicom+json' },
  });
  return rows?.[0]?.['0020000E']?.Value?.[0] ?? null;
}

export type Added = 'added' | 'already' | 'full' | 'no-report';

/** Add a picture to the report being written; a race with another save is read and tried again once. */
export async function addKeyImage(subject: ReportSubject, image: KeyImage): Promise<Added> {
  const open = await reportInDrafting(subject);
  if (!open) return 'no-report';
  const path = `/api/v1/reports/${encodeURIComponent(open.id)}`;
  for (let tries = 0; ; tries++) {
    const report = await api.get<Report>(path);
    if (report.key_images.some((known) => imageId(known) === imageId(image))) return 'already';
    if (report.key_images.length >= MOST_KEY_IMAGES) return 'full';
    const body = {
      sections: report.sections,
      key_images: [...report.key_images, image],
      language: report.language,
      reason: '',
    };
    try {
      await api.putTagged<Report>(path, body, report.etag);
      return 'added';
    } catch (error) {
      const lost = error instanceof ApiError && 'problem' in error.problem && error.problem.problem.status === 412;
      if (!lost || tries > 0) throw error;
    }
  }
}
