/**
 * Loads what a study holds: series by QIDO-RS, instances by WADO-RS metadata, as display sets
 * (a stack of single frames, or one clip). Addresses hold UIDs only.
 */
import { api } from '@/lib/api';
import { inOrder, number, readInstance, text, type DicomJson, type Instance } from './dicom';

export interface SeriesHead {
  studyUid: string;
  seriesUid: string;
  modality: string;
  number: number;
  description: string;
  instances: number;
}

/** What one viewport shows at a time. */
export interface DisplaySet {
  id: string;
  instances: Instance[];
  isClip: boolean;
}

const JSON_TYPE = { headers: { accept: 'application/dicom+json' } };

export async function loadSeries(studyUid: string, signal?: AbortSignal): Promise<SeriesHead[]> {
  const rows = await api.get<DicomJson[] | null>(`/dicomweb/studies/${studyUid}/series`, { ...JSON_TYPE, signal });
  return (rows ?? [])
    .map((row) => ({
      studyUid,
      seriesUid: text(row, '0020000E'),
      modality: text(row, '00080060'),
      number: number(row, '00200011') ?? 0,
      description: text(row, '0008103E'),
      instances: number(row, '00201209') ?? 0,
    }))
    .sort((a, b) => a.number - b.number || a.seriesUid.localeCompare(b.seriesUid));
}

export async function loadInstances(studyUid: string, seriesUid: string, signal?: AbortSignal): Promise<Instance[]> {
  const series = `/dicomweb/studies/${studyUid}/series/${seriesUid}`;
  const options = { ...JSON_TYPE, signal, timeout_s: 60 };
  // Metadata holds no transfer syntax (PS3.18 F.2 leaves group 0002 out); the search answers it.
  const [rows, found] = await Promise.all([
    api.get<DicomJson[] | null>(`${series}/metadata`, options),
    api.get<DicomJson[] | null>(`${series}/instances?includefield=AvailableTransferSyntaxUID`, options),
  ]);
  const syntaxes = new Map((found ?? []).map((row) => [text(row, '00080018'), text(row, '00083002')]));
  return (rows ?? [])
    .map((row) => {
      const instance = readInstance(row);
      return { ...instance, transferSyntax: syntaxes.get(instance.sopInstanceUid) || instance.transferSyntax };
    })
    .filter((instance) => instance.rows > 0 && instance.columns > 0);
}

/** Split a series: each multi-frame object is a clip of its own, the single frames are one stack. */
export function displaySets(instances: readonly Instance[]): DisplaySet[] {
  const stack = inOrder(instances.filter((instance) => instance.frames === 1));
  const clips = inOrder(instances.filter((instance) => instance.frames > 1));
  const sets = clips.map((clip) => ({ id: clip.sopInstanceUid, instances: [clip], isClip: true }));
  const first = stack[0];
  return first ? [{ id: first.sopInstanceUid, instances: stack, isClip: false }, ...sets] : sets;
}

/** After a reload: keep the sets that did not change, so that what is on the screen goes on undisturbed. */
export function keepUnchanged(before: readonly DisplaySet[], after: readonly DisplaySet[]): DisplaySet[] {
  return after.map((set) => {
    const known = before.find((old) => old.id === set.id);
    const same = known?.instances.length === set.instances.length;
    return known && same && known.instances.every((one, i) => one.sopInstanceUid === set.instances[i]?.sopInstanceUid)
      ? known
      : set;
  });
}
