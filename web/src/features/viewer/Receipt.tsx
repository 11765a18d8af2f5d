/** The signed receipt of what the archive keeps of the open study: a page in a new tab, to read and to print. */
import { Button, ProblemNotice } from '@/kit';
import { useAction } from '@/lib/action';
import { withQuery } from '@/lib/api';
import { defineMessages, language } from '@/lib/i18n';
import { openTab } from '@/lib/openTab';

const words = defineMessages({ receipt: 'Storage receipt' }, { receipt: '存储回执' });

export function Receipt({ studyUid }: { studyUid: string }) {
  const { busy, problem, run } = useAction();
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
