# The steps of "Getting started with EFA and MPI" as calls of EC2, as they would be typed. Runs in
# a folder of its own, with the exports of `elastane cloud env`.
set -euo pipefail

say() { echo "== $*"; }

say 'Step 1: an EFA-enabled security group'
vpc=$(aws ec2 describe-vpcs --filters Name=is-default,Values=true \
  --query 'Vpcs[0].VpcId' --output text)
group=$(aws ec2 create-security-group --group-name 'EFA-enabled security group' \
  --description 'EFA-enabled security group' --vpc-id "$vpc" --query GroupId --output text)
itself="IpProtocol=-1,UserIdGroupPairs=[{GroupId=$group}]"
aws ec2 authorize-security-group-ingress --group-id "$group" --ip-permissions "$itself"
aws ec2 authorize-security-group-egress --group-id "$group" --ip-permissions "$itself"
aws ec2 authorize-security-group-ingress --group-id "$group" \
  --protocol tcp --port 22 --cidr 0.0.0.0/0

say 'Step 2: a temporary instance'
aws ec2 create-key-pair --key-name hpc --key-type ed25519 \
  --query KeyMaterial --output text > hpc.pem
chmod 600 hpc.pem
aws ec2 describe-instance-types --filters Name=network-info.efa-supported,Values=true \
  --query 'InstanceTypes[].InstanceType' --output text | tr '\t' '\n' | grep -x c5n.18xlarge
base=$(aws ec2 describe-images --owners amazon --filters 'Name=name,Values=elastane-ubuntu-*' \
  --query 'Images[0].ImageId' --output text)
subnet=$(aws ec2 describe-subnets --filters "Name=vpc-id,Values=$vpc" Name=default-for-az,Values=true \
  --query 'Subnets[0].SubnetId' --output text)
nic="DeviceIndex=0,NetworkCardIndex=0,InterfaceType=efa,SubnetId=$subnet,Groups=$group"
nic="$nic,DeleteOnTermination=true"
temporary=$(aws ec2 run-instances --image-id "$base" --instance-type c5n.18xlarge --count 1 \
  --key-name hpc --network-interfaces "$nic" \
  --tag-specifications 'ResourceType=instance,Tags=[{Key=Name,Value=temporary}]' \
  --query 'Instances[0].InstanceId' --output text)
aws ec2 wait instance-running --instance-ids "$temporary"
aws ec2 wait instance-status-ok --instance-ids "$temporary"
address=$(aws ec2 describe-instances --instance-ids "$temporary" \
  --query 'Reservations[0].Instances[0].PublicIpAddress' --output text)
ssh="ssh -i hpc.pem -o StrictHostKeyChecking=no -o UserKnownHostsFile=known_hosts -o LogLevel=ERROR"

say 'Steps 3 to 6: the software'
$ssh "ubuntu@$address" 'sudo sh -c "echo made on $(hostname) > /opt/application"'

say 'Step 7: an EFA-enabled AMI'
image=$(aws ec2 create-image --instance-id "$temporary" --name efa-enabled \
  --description 'with the application' --query ImageId --output text)
aws ec2 wait image-available --image-ids "$image"

say 'Step 8: EFA-enabled instances in a cluster placement group'
aws ec2 create-placement-group --group-name hpc --strategy cluster \
  --query PlacementGroup.State --output text | grep -x available
aws ec2 run-instances --image-id "$image" --instance-type c5n.18xlarge --count 2 --key-name hpc \
  --placement GroupName=hpc --network-interfaces "$nic" \
  --tag-specifications 'ResourceType=instance,Tags=[{Key=Name,Value=member}]' \
  --query 'Instances[].InstanceId' --output text | tr '\t' '\n' > members
aws ec2 wait instance-running --instance-ids $(cat members)
aws ec2 wait instance-status-ok --instance-ids $(cat members)
aws ec2 describe-instances --filters Name=tag:Name,Values=member \
  Name=instance-state-name,Values=running Name=placement-group-name,Values=hpc \
  --query 'Reservations[].Instances[].NetworkInterfaces[0].InterfaceType' --output text \
  | tr '\t' '\n' | sort | uniq -c | grep -x ' *2 efa'

say 'Step 9: the temporary instance ends'
aws ec2 terminate-instances --instance-ids "$temporary" \
  --query 'TerminatingInstances[0].CurrentState.Name' --output text | grep -x shutting-down
aws ec2 wait instance-terminated --instance-ids "$temporary"

say 'Step 10: passwordless SSH'
read -r leader member < <(aws ec2 describe-instances --instance-ids $(cat members) \
  --query 'Reservations[].Instances[].PrivateIpAddress' --output text)
$ssh "ubuntu@$leader" 'ssh-keygen -q -t rsa -N "" -f ~/.ssh/id_rsa && chmod 600 ~/.ssh/id_rsa
  printf "Host *\n  StrictHostKeyChecking no\n  LogLevel ERROR\n" > ~/.ssh/config'
$ssh "ubuntu@$leader" 'cat ~/.ssh/id_rsa.pub' \
  | $ssh "ubuntu@$member" 'cat >> ~/.ssh/authorized_keys'
$ssh "ubuntu@$leader" "ssh $member cat /opt/application" | grep '^made on ip-'

say 'The end: nothing is left'
if aws ec2 delete-security-group --group-id "$group" 2> refusal; then exit 1; fi
grep -q DependencyViolation refusal
aws ec2 terminate-instances --instance-ids $(cat members) > ended
aws ec2 wait instance-terminated --instance-ids $(cat members)
aws ec2 delete-placement-group --group-name hpc
aws ec2 delete-security-group --group-id "$group" > deleted
snapshot=$(aws ec2 describe-images --image-ids "$image" \
  --query 'Images[0].BlockDeviceMappings[0].Ebs.SnapshotId' --output text)
aws ec2 deregister-image --image-id "$image" > deregistered
aws ec2 delete-snapshot --snapshot-id "$snapshot"
aws ec2 delete-key-pair --key-name hpc > deleted
say done
