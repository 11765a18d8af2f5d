/** The words of the priors that are fetched for a consultation, in both languages. */
import { defineMessages } from '@/lib/i18n';

const en = {
  title: 'Priors',
  none: 'No earlier study is surely of this patient.',
  hot: 'Ready',
  partly: '{percent} % ready',
  waiting: 'Being fetched',
  failed: 'Not fetched',
  not_kept: 'Not kept ready',
  not_kept_text: 'Nothing is fetched for this consultation any more. It opens, only slower.',
  archived: 'From the archive: hours',
  archived_left_text: 'In the cold archive. Whoever opens it has it brought back, which takes hours.',
  archived_text: 'In the cold archive. It is being brought back and then fetched by itself.',
  full: 'There is no room to keep it ready. It opens, only slower.',
  trouble: 'The store did not give all of it. It is tried again in some minutes.',
  pictures: '{n} {n|picture|pictures}',
  ready_since: 'ready since {when}',
};

const zh: Record<keyof typeof en, string> = {
  title: '既往检查',
  none: '没有可确认属于该患者的既往检查。',
  hot: '已就绪',
  partly: '已就绪 {percent}%',
  waiting: '正在预取',
  failed: '未能预取',
  not_kept: '未预先保留',
  not_kept_text: '不再为此会诊预取，仍可打开，只是较慢。',
  archived: '归档恢复中：数小时',
  archived_left_text: '此检查在冷归档中，打开时才开始恢复，需要数小时。',
  archived_text: '此检查在冷归档中，正在恢复，之后会自动预取。',
  full: '没有空间预先保留，仍可打开，只是较慢。',
  trouble: '存储未能完整提供，几分钟后会再次尝试。',
  pictures: '{n} 幅图像',
  ready_since: '{when}就绪',
};

export const p = defineMessages(en, zh);
