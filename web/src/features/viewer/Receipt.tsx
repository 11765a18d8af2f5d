/** The signed receipt of what the archive keeps of the open study: a page in a new tab, to read and to print. */
import { Button, ProblemNotice } from '@/kit';
import { useAction } from '@/lib/action';
import { withQuery } from '@/lib/api';
import { user } from '@/lib/auth';
import { defineMessages, language } from '@/lib/i18n';
import { openTab } from '@/lib/openTab';
import type { Role } from '@/protocol/types';

const words = defineMessages({ receipt: 'Storage receipt' }, { receipt: '存储回执' });

// `receipt.read`; it stands here and not in lib/roles because every page loads that and only this button asks.
const READERS: readonly Role[] = ['operator', 'qc', 'itsec', 'admin'];

export function Receipt({ studyUid }: { studyUid: string }) {
  const { busy, problem, run } = useAction();
  if (!user.value || !READERS.includes(user.value.role)) return null;
  const path = `/api/v1/ingest/storage/studies/${studyUid}/receipt/page`;
  return (
    <>
      <Button
        icon="file"
        busy={busy}
        data-testid="btn-receipt"
        onClick={() => void run(() => openTab(withQuery(path, { language: language.value })))}
      >
        {words('receipt')}
      </Button>
      {problem && <ProblemNotice problem={problem} />}
    </>
  );
}
