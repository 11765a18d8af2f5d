/** The patient's studies and the series of the open one, with thumbnails. */
import { useEffect, useState } from 'react';
import { Link } from 'wouter';
import { Icon, Skeleton } from '@/kit';
import { calendarDate } from '@/lib/when';
import { instancePath } from '@/lib/viewport/frames';
import type { DisplaySet } from '@/lib/viewport/study';
import { Thumbnail } from '@/lib/viewport/Thumbnail';
import type { Study } from '@/protocol/types';
import type * as Receipts from './Receipt';
import type { StudyData } from './useStudy';
import { w } from './words';

interface Props {
  data: StudyData;
  studyUid: string;
  openId: string | null;
  onOpen: (set: DisplaySet) => void;
}

export function thumbnailPath(set: DisplaySet): string | null {
  const first = set.instances[Math.floor(set.instances.length / 2)];
  return first ? `${instancePath(first)}/thumbnail` : null;
}

export function setLabel(set: DisplaySet): string {
  const frames = set.instances[0]?.frames ?? 1;
  return set.isClip ? w('clip', { n: frames }) : w('stack', { n: set.instances.length });
}

/** Every study of the patient, newest first; the open one is marked. */
export function StudyList({ studies, studyUid }: { studies: readonly Study[]; studyUid: string }) {
  return (
    <ul>
      {studies.map((study) => (
        <li key={study.study_uid}>
          <Link
            href={`/studies/${study.study_uid}`}
            className="study-row"
            aria-current={study.study_uid === studyUid ? 'page' : undefined}
          >
            <b className="num">{calendarDate(study.study_date)}</b>
            <span className="clip">{[study.modalities.join(' '), study.description].filter(Boolean).join(' · ')}</span>
          </Link>
        </li>
      ))}
    </ul>
  );
}

/** The button of the storage receipt; null until it is here. */
function useReceipt(): typeof Receipts | null {
  const [receipt, setReceipt] = useState<typeof Receipts | null>(null);
  useEffect(() => {
    import('./Receipt').then(setReceipt, () => undefined); // the pictures are what counts here
  }, []);
  return receipt;
}

export function SeriesList({ data, studyUid, openId, onOpen }: Props) {
  const receipt = useReceipt();
  return (
    <nav className="series-list" data-testid="series-list" aria-label={w('series')}>
      {data.studies.length > 1 && (
        <details className="study-others" open>
          <summary>{w('other_studies')}</summary>
          <StudyList studies={data.studies} studyUid={studyUid} />
        </details>
      )}
      {receipt && <receipt.Receipt studyUid={studyUid} />}
      {data.series === null && <Skeleton share={80} />}
      {data.series?.map(({ head, sets }) => (
        <section key={head.seriesUid} className="series">
          <h2 className="series-title clip">
            {head.modality} {head.description || `${w('series')} ${head.number}`}
          </h2>
          {sets === null && <Skeleton share={70} />}
          {sets?.map((set) => {
            const path = thumbnailPath(set);
            return (
              <button
                key={set.id}
                type="button"
                className="series-set"
                aria-pressed={set.id === openId}
                data-set={set.id}
                onClick={() => onOpen(set)}
              >
                {path && <Thumbnail path={path} />}
                <span className="series-words">
                  <Icon name={set.isClip ? 'video' : 'image'} />
                  {setLabel(set)}
                </span>
              </button>
            );
          })}
        </section>
      ))}
    </nav>
  );
}
