package asgard;

import io.delta.storage.HadoopFileSystemLogStore;
import java.io.ByteArrayOutputStream;
import java.io.FileNotFoundException;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.FileAlreadyExistsException;
import java.util.Arrays;
import java.util.Iterator;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.FSDataInputStream;
import org.apache.hadoop.fs.FSDataOutputStream;
import org.apache.hadoop.fs.FSDataOutputStreamBuilder;
import org.apache.hadoop.fs.FileSystem;
import org.apache.hadoop.fs.Path;
import org.apache.hadoop.fs.s3a.RemoteFileChangedException;

/**
 * Commits to a Delta log on S3 by conditional put: of several writers of one version exactly one wins.
 *
 * The store that Delta ships for S3 knows the writers of one JVM only. A refused put is read back: the client
 * below repeats a put whose answer was lost, and is then refused because of its own first one. A commit holds a
 * random id, so equal bytes are our own.
 */
public class ConditionalLogStore extends HadoopFileSystemLogStore {
  private static final String IF_ABSENT = "fs.option.create.conditional.overwrite";

  public ConditionalLogStore(Configuration configuration) {
    super(configuration);
  }

  @Override
  public void write(Path path, Iterator<String> actions, Boolean overwrite, Configuration configuration)
      throws IOException {
    ByteArrayOutputStream lines = new ByteArrayOutputStream();
    while (actions.hasNext()) {
      lines.write((actions.next() + "\n").getBytes(StandardCharsets.UTF_8));
    }
    byte[] body = lines.toByteArray();
    FileSystem files = path.getFileSystem(configuration);
    FSDataOutputStreamBuilder<?, ?> builder = files.createFile(path).overwrite(true);
    if (!overwrite) {
      builder = builder.must(IF_ABSENT, true);
    }
    try {
      FSDataOutputStream out = (FSDataOutputStream) builder.build();
      try {
        out.write(body);
      } finally {
        out.close();
      }
    } catch (org.apache.hadoop.fs.FileAlreadyExistsException | RemoteFileChangedException refused) {
      if (overwrite || !isOurs(files, path, body)) {
        FileAlreadyExistsException taken = new FileAlreadyExistsException(path.toString());
        taken.initCause(refused);
        throw taken;
      }
    }
  }

  private static boolean isOurs(FileSystem files, Path path, byte[] body) throws IOException {
    try (FSDataInputStream in = files.open(path)) {
      return Arrays.equals(in.readAllBytes(), body);
    } catch (FileNotFoundException absent) {
      return false; // A refusal without a file: S3 answers so to two puts at one moment. Delta tries again.
    }
  }

  @Override
  public Boolean isPartialWriteVisible(Path path, Configuration configuration) {
    return false;
  }
}
